"""y[out(m), n] = p(m) * sum_k x[in(m), k] * w[e(m), n, k]        e(m): the expert that owns sorted row m

This is the forward pass, and dX with K and N exchanged (w read as its transpose), for rows that are sorted by expert:

    x [*, K]   w [E, N, K]   y [M, N] in the type of the buffer, accumulated in float32   gather_indices [M] int32 or int64
    in(m)  = gather_indices[m] // x_divisor  under GATHER, else m
    out(m) = gather_indices[m]               under SCATTER, else m
    p(m)   = row_weights[gather_indices[m]]  under FUSE_MUL, else 1

Program (t, j) owns the rows of tile t (see tile_schedule.py: none crosses into another expert) and columns j*BLOCK_N + [0, BLOCK_N).
Rows that no expert owns count as expert E's, with an empty contraction: zeros are written, except under SCATTER, where their place is
unknown. Programs are numbered along j first, so that those that run together share rows of x and one expert's weights in the L2 cache.
Masks: m < tile_end (the next row belongs to another expert or to none), n < N, and k < K with other=0 (a masked lane adds nothing).
Under ALIGNED there is no mask along k: the launcher has checked that K is a multiple of BLOCK_K.
Offsets are int64 before they meet a stride.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton.language as tl

from .. import launching, triton_interpreter
from ..kernel_config import KernelConfig
from .tile_schedule import TileSchedule

triton_interpreter.repair()


class RowMap(NamedTuple):
    """The rows of x and of y that belong to a sorted row, and its factor: in(m), out(m) and p(m)."""

    gather_indices: torch.Tensor | None  # [M]
    row_weights: torch.Tensor | None = None  # [M] float32, in flat-slot order
    gather: bool = False
    scatter: bool = False
    x_divisor: int = 1

    @property
    def is_identity(self) -> bool:
        return not (self.gather or self.scatter) and self.row_weights is None


@launching.jit(
    do_not_specialize=[
        "x_ptr", "w_ptr", "y_ptr", "gather_ptr", "row_weights_ptr", "tile_expert_ptr", "tile_row_ptr", "tile_end_ptr",
        "E", "N", "K", "n_column_tiles", "x_divisor",
        "stride_xm", "stride_xk", "stride_we", "stride_wn", "stride_wk", "stride_ym", "stride_yn",
    ]
)  # fmt: skip
def _grouped_gemm_rows_kernel(
    x_ptr,
    w_ptr,
    y_ptr,
    gather_ptr,
    row_weights_ptr,
    tile_expert_ptr,
    tile_row_ptr,
    tile_end_ptr,
    E: tl.int32,
    N: tl.int32,
    K: tl.int32,
    n_column_tiles: tl.int32,
    x_divisor: tl.int32,
    stride_xm: tl.int64,
    stride_xk: tl.int64,
    stride_we: tl.int64,
    stride_wn: tl.int64,
    stride_wk: tl.int64,
    stride_ym: tl.int64,
    stride_yn: tl.int64,
    GATHER: tl.constexpr,
    SCATTER: tl.constexpr,
    FUSE_MUL: tl.constexpr,
    ALIGNED: tl.constexpr,
    W_ALONG_N: tl.constexpr,  # under ALIGNED: which axis of w is contiguous, n (dX) or k (forward)
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    program = tl.program_id(0)
    t = program // n_column_tiles
    j = program % n_column_tiles
    e = tl.load(tile_expert_ptr + t)
    is_owned = e < E
    row = tl.load(tile_row_ptr + t)
    end = tl.load(tile_end_ptr + t)
    if row >= end:
        return
    if SCATTER and not is_owned:
        return
    rm = row + tl.arange(0, BLOCK_M)  # [BLOCK_M]
    mask_m = rm < end
    rn = j * BLOCK_N + tl.arange(0, BLOCK_N)  # [BLOCK_N]
    if ALIGNED:
        mask_n = rn // 8 * 8 < N  # the same for multiples of 8, and known to be constant over 8 columns
    else:
        mask_n = rn < N
    rk = tl.arange(0, BLOCK_K)  # [BLOCK_K]

    x_rows = rm
    y_rows = rm
    if GATHER or SCATTER or FUSE_MUL:
        slots = tl.load(gather_ptr + rm, mask=mask_m & is_owned, other=0)
        if GATHER:
            x_rows = slots // x_divisor
        if SCATTER:
            y_rows = slots

    rn64 = rn.to(tl.int64)
    rk64 = rk.to(tl.int64)
    x_row_ptrs = x_ptr + x_rows.to(tl.int64) * stride_xm
    w_expert_ptr = w_ptr + e.to(tl.int64) * stride_we
    if ALIGNED:
        x_ptrs = tl.multiple_of(x_row_ptrs[:, None] + rk[None, :], (16, 16))  # [BLOCK_M, BLOCK_K]
        if W_ALONG_N:
            w_ptrs = tl.multiple_of((w_expert_ptr + rk64 * stride_wk)[:, None] + rn[None, :], (16, 16))  # [BLOCK_K, BLOCK_N]
        else:
            w_ptrs = tl.multiple_of((w_expert_ptr + rn64 * stride_wn)[None, :] + rk[:, None], (16, 16))
    else:
        x_ptrs = x_row_ptrs[:, None] + (rk64 * stride_xk)[None, :]
        w_ptrs = (w_expert_ptr + rn64 * stride_wn)[None, :] + (rk64 * stride_wk)[:, None]

    x_step = BLOCK_K * stride_xk
    w_step = BLOCK_K * stride_wk
    acc = tl.full((BLOCK_M, BLOCK_N), 0.0, tl.float32)
    for k in range(0, tl.where(is_owned, K, 0), BLOCK_K):
        if ALIGNED:
            x = tl.load(x_ptrs, mask=mask_m[:, None], other=0.0)
            w = tl.load(w_ptrs, mask=mask_n[None, :], other=0.0)
            x_ptrs += BLOCK_K
            if W_ALONG_N:
                w_ptrs += w_step
            else:
                w_ptrs += BLOCK_K
        else:
            mask_k = rk < K - k
            x = tl.load(x_ptrs, mask=mask_m[:, None] & mask_k[None, :], other=0.0)
            w = tl.load(w_ptrs, mask=mask_n[None, :] & mask_k[:, None], other=0.0)
            x_ptrs += x_step
            w_ptrs += w_step
        acc = tl.dot(x, w, acc, input_precision="ieee")

    if FUSE_MUL:
        acc = acc * tl.load(row_weights_ptr + slots, mask=mask_m & is_owned, other=0.0).to(tl.float32)[:, None]
    y_row_ptrs = y_ptr + y_rows.to(tl.int64) * stride_ym
    if ALIGNED:
        y_ptrs = tl.multiple_of(y_row_ptrs[:, None] + rn[None, :], (16, 16))
    else:
        y_ptrs = y_row_ptrs[:, None] + (rn64 * stride_yn)[None, :]
    tl.store(y_ptrs, acc.to(y_ptr.dtype.element_ty), mask=mask_m[:, None] & mask_n[None, :])


def grouped_gemm_rows(
    x: torch.Tensor,  # [*, K], [T, K] or [M, K]
    w: torch.Tensor,  # [E, N, K], any strides
    y: torch.Tensor,  # [M, N], zeros where rows are scattered
    schedule: TileSchedule,
    row_map: RowMap,
    *,
    config: KernelConfig,
    block_n: int,  # columns of y a program owns
    block_k: int,  # depth of one step
) -> torch.Tensor:
    """Launch the kernel of this file and return ``y``, in which rows that no expert owns are zeros."""
    n_tiles = schedule.tile_expert.numel()
    if n_tiles == 0:
        return y
    N, K = w.shape[1:]
    n_column_tiles = -(-N // block_n)
    w_along_n = config.aligned and w.stride(1) == 1 and w.stride(2) != 1
    unused = schedule.tile_expert  # a pointer that is never read
    _grouped_gemm_rows_kernel[(n_tiles * n_column_tiles,)](
        x, w, y,
        unused if row_map.gather_indices is None else row_map.gather_indices,
        unused if row_map.row_weights is None else row_map.row_weights,
        schedule.tile_expert, schedule.tile_row, schedule.tile_end,
        w.shape[0], N, K, n_column_tiles, row_map.x_divisor,
        x.stride(0), x.stride(1), w.stride(0), w.stride(1), w.stride(2), y.stride(0), y.stride(1),
        GATHER=row_map.gather, SCATTER=row_map.scatter, FUSE_MUL=row_map.row_weights is not None,
        ALIGNED=config.aligned, W_ALONG_N=w_along_n,
        BLOCK_M=schedule.block_m, BLOCK_N=block_n, BLOCK_K=block_k, num_warps=config.num_warps, num_stages=config.num_stages,
    )  # fmt: skip
    return y
