"""row_of_slot[g] = the number of slots before g, ordered by expert and then by slot: a sort of few slots, in one launch.

    ids [M] int64, the expert of each slot   row_of_slot, gather_indices [M] int32, each the inverse of the other

Program i owns slots i*BLOCK_G + [0, BLOCK_G) and compares each with all M, [BLOCK_R] at a time: M**2 comparisons in all. Mask: slot < M.
The key of a slot is id * M + g, int64, which is unique: whatever the ids, rows are in [0, M).
"""

from __future__ import annotations

import torch
import triton.language as tl

from .. import launching, triton_interpreter

triton_interpreter.repair()

FEW = 1 << 13
"""Up to so many slots, this is faster than torch's sort (docs/evidence/speed.md)."""


@launching.jit(do_not_specialize=["ids_ptr", "row_of_slot_ptr", "gather_ptr", "M"])
def _rank_kernel(ids_ptr, row_of_slot_ptr, gather_ptr, M: tl.int32, BLOCK_G: tl.constexpr, BLOCK_R: tl.constexpr):
    slots = tl.program_id(0) * BLOCK_G + tl.arange(0, BLOCK_G)  # [BLOCK_G]
    mask = slots < M
    keys = tl.load(ids_ptr + slots, mask=mask, other=0).to(tl.int64) * M + slots
    rows = tl.full((BLOCK_G,), 0, tl.int32)
    for start in range(0, M, BLOCK_R):
        others = start + tl.arange(0, BLOCK_R)  # [BLOCK_R]
        mask_others = others < M
        other_keys = tl.load(ids_ptr + others, mask=mask_others, other=0).to(tl.int64) * M + others
        is_before = (other_keys[None, :] < keys[:, None]) & mask_others[None, :]  # [BLOCK_G, BLOCK_R]
        rows += tl.sum(is_before.to(tl.int32), 1)
    tl.store(row_of_slot_ptr + slots, rows, mask=mask)
    tl.store(gather_ptr + rows, slots, mask=mask)


def rank_slots(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # gather_indices, row_of_slot
    """Sort slots by expert, those of one expert in ascending order, and return both permutations; ``ids`` [M] int64, contiguous."""
    M = ids.numel()
    gather_indices, row_of_slot = torch.empty(2, M, dtype=torch.int32, device=ids.device).unbind()
    if M:
        block_g, block_r = (1024, 1024) if triton_interpreter.in_force() else (16, 512)  # under the interpreter, programs are slow
        _rank_kernel[(-(-M // block_g),)](ids, row_of_slot, gather_indices, M, BLOCK_G=block_g, BLOCK_R=block_r)
    return gather_indices, row_of_slot
