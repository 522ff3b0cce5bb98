"""order = the experts with more than twice the mean rows, then the others: in which order dW's tiles are handed out, in one launch.

    m_sizes [E] int32   order [E] int32, the experts in two ascending runs   counter [1] int32, zero

A tile of dW takes as long as its expert has rows: for one that begins last, all other programs wait. The others keep their order: sorted by
rows they took longer (docs/evidence/speed.md).
One program holds all experts [BLOCK_E]. Mask: e < E. Whatever sizes are passed on a GPU, each expert has a place of its own.
"""

from __future__ import annotations

import torch
import triton.language as tl

from .. import launching, triton_interpreter
from .tile_schedule import experts_block

triton_interpreter.repair()


@launching.jit(do_not_specialize=["m_sizes_ptr", "order_ptr", "counter_ptr", "E"])
def _heavy_first_kernel(m_sizes_ptr, order_ptr, counter_ptr, E: tl.int32, BLOCK_E: tl.constexpr):
    e = tl.arange(0, BLOCK_E)  # [BLOCK_E]
    mask = e < E
    sizes = tl.load(m_sizes_ptr + e, mask=mask, other=0)
    is_heavy = (sizes > tl.sum(sizes, 0) // E * 2) & mask
    heavy = is_heavy.to(tl.int32)
    heavy_before = tl.cumsum(heavy, 0) - heavy
    place = tl.where(is_heavy, heavy_before, tl.sum(heavy, 0) + e - heavy_before)
    tl.store(order_ptr + place, e, mask=mask)
    tl.store(counter_ptr, 0)


def heavy_first(m_sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # order, counter
    """Of ``m_sizes`` [E] int32, contiguous, of one expert or more."""
    E = m_sizes.numel()
    made = torch.empty(E + 1, dtype=torch.int32, device=m_sizes.device)
    order, counter = made[:E], made[E:]
    _heavy_first_kernel[(1,)](m_sizes, order, counter, E, BLOCK_E=experts_block(E))
    return order, counter
