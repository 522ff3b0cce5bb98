"""out[r, k] = x[gather_indices[r] // divisor, k]: the rows of a matrix sorted by expert, so that the next kernel can load boxes.

    x [*, K]   out [M, K] in its type   gather_indices [M] int32   row_ends [E] int32, the last of which is how many rows have an expert

Program (i, j) owns rows i*BLOCK_R + [0, BLOCK_R) and columns j*BLOCK_K + [0, BLOCK_K). Masks: r < row_ends[E - 1], as gather_indices
may hold anything from there on, and k < K. Later rows are neither written nor read.
All are contiguous. Under ALIGNED the launcher has checked that their rows start on 16 bytes and that K is a multiple of 8:
the mask by groups of 8 is the same, and known to be constant over them.
Rows are int64 before they meet a width.
"""

from __future__ import annotations

import torch
import triton.language as tl

from .. import launching, triton_interpreter
from ..moe_details.elementwise import is_aligned, tile_of

triton_interpreter.repair()


@launching.jit(do_not_specialize=["x_ptr", "gather_ptr", "row_ends_ptr", "out_ptr", "E", "K", "divisor"])
def _gathered_rows_kernel(
    x_ptr,
    gather_ptr,
    row_ends_ptr,
    out_ptr,
    E: tl.int32,
    K: tl.int32,
    divisor: tl.int32,
    ALIGNED: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    rows = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)  # [BLOCK_R]
    rk = (tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K))[None, :]  # [1, BLOCK_K]
    mask_r = rows < tl.load(row_ends_ptr + (E - 1))
    x_rows = (tl.load(gather_ptr + rows, mask=mask_r, other=0) // divisor).to(tl.int64)
    x_ptrs = x_ptr + (x_rows[:, None] * K + rk)  # [BLOCK_R, BLOCK_K]
    out_ptrs = out_ptr + (rows[:, None] * K + rk)
    if ALIGNED:
        x_ptrs = tl.multiple_of(x_ptrs, (16, 16))
        out_ptrs = tl.multiple_of(out_ptrs, (16, 16))
    mask = mask_r[:, None] & (rk // 8 * 8 < K if ALIGNED else rk < K)
    tl.store(out_ptrs, tl.load(x_ptrs, mask=mask), mask=mask)


def gathered_rows(
    x: torch.Tensor,  # [*, K], any strides
    gather_indices: torch.Tensor,  # [M] int32, contiguous
    row_ends: torch.Tensor,  # [E] int32, contiguous
    divisor: int,
) -> torch.Tensor:  # [M, K] in the type of ``x``
    """Return a copy of the rows that experts own, sorted by expert; the content of all later rows is unspecified."""
    x, M = x.contiguous(), gather_indices.numel()
    K = x.shape[1]
    out = torch.empty(M, K, dtype=x.dtype, device=x.device)
    if out.numel():
        block_r, block_k = tile_of(K)
        _gathered_rows_kernel[-(-M // block_r), -(-K // block_k)](
            x, gather_indices, row_ends, out, row_ends.numel(), K, divisor, ALIGNED=is_aligned(K, x), BLOCK_R=block_r, BLOCK_K=block_k
        )
    return out
