"""y[out(m), n] = p(m) * sum_k x[in(m), k] * w[e(m), n, k], through the tensor memory accelerator of Hopper and later GPUs.

It computes the same as rows.py, with the same shapes, in(m), out(m) and p(m), if all rows start on 16 bytes:

    x [*, K]   w [E, N, K], contiguous along k, or under W_ALONG_N along n   y [M, N] in the type of the buffer, accumulated in float32

Tiles of w, of x unless it is gathered, and of y unless it is scattered or wide, move as boxes, filled with zeros beyond N and K.
A program owns the rows of a tile t and columns j*BLOCK_N + [0, BLOCK_N), band by band (tile_schedule.py). Under HALVES a
tile with at most half of its rows computes half of them: with some hundred rows per expert, that is every other last tile.
A box of x may contain the next expert's rows: they reach rows of the accumulator that are not stored. A whole tile of y is stored as a box.
An expert's last tile, which would reach into the next expert's rows, is stored by pointers, and so is all of a y that is wider than x:
a box of float32 sums of 16-bit operands would not fit into shared memory.
Masks, where pointers are used: m < tile_end, n < N and k < K, the last two by groups of 8 columns, of which N and K are multiples.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .. import launching, triton_interpreter
from ..kernel_config import KernelConfig
from .rows import RowMap
from .tile_schedule import TileSchedule
from .tma_boxes import boxes

triton_interpreter.repair()


@triton.jit
def _tile(
    x_desc, x_ptr, w_desc, y_desc, y_ptr, gather_ptr, row_weights_ptr, e, row, end, n, N, K, x_divisor, stride_xm, stride_ym,
    GATHER: tl.constexpr, SCATTER: tl.constexpr, FUSE_MUL: tl.constexpr, W_ALONG_N: tl.constexpr, BOXES_OF_Y: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    rm = row + tl.arange(0, BLOCK_M)  # [BLOCK_M]
    mask_m = rm < end
    if GATHER or SCATTER or FUSE_MUL:
        slots = tl.load(gather_ptr + rm, mask=mask_m & (K > 0), other=0)  # rows without an expert have K = 0 and no slots
    if GATHER:
        x_row_ptrs = x_ptr + (slots // x_divisor).to(tl.int64) * stride_xm
    acc = tl.full((BLOCK_M, BLOCK_N), 0.0, tl.float32)
    for k in range(0, K, BLOCK_K):
        if GATHER:
            rk = k + tl.arange(0, BLOCK_K)
            x_ptrs = tl.multiple_of(x_row_ptrs[:, None] + rk[None, :], (16, 16))  # [BLOCK_M, BLOCK_K]
            x = tl.load(x_ptrs, mask=mask_m[:, None] & (rk // 8 * 8 < K)[None, :], other=0.0)
        else:
            x = x_desc.load([row, k])
        if W_ALONG_N:
            w = w_desc.load([e, k, n]).reshape(BLOCK_K, BLOCK_N)
        else:
            w = w_desc.load([e, n, k]).reshape(BLOCK_N, BLOCK_K).T
        acc = tl.dot(x, w, acc, input_precision="ieee")
    if FUSE_MUL:
        acc = acc * tl.load(row_weights_ptr + slots, mask=mask_m & (K > 0), other=0.0).to(tl.float32)[:, None]
    y = acc.to(y_ptr.dtype.element_ty)
    if BOXES_OF_Y and row + BLOCK_M <= end:
        y_desc.store([row, n], y)
    else:
        y_rows = slots if SCATTER else rm
        rn = n + tl.arange(0, BLOCK_N)  # [BLOCK_N]
        y_ptrs = tl.multiple_of((y_ptr + y_rows.to(tl.int64) * stride_ym)[:, None] + rn[None, :], (16, 16))
        tl.store(y_ptrs, y, mask=mask_m[:, None] & (rn // 8 * 8 < N)[None, :])


@launching.jit(
    do_not_specialize=[
        "x_ptr", "y_ptr", "gather_ptr", "row_weights_ptr", "tile_expert_ptr", "tile_row_ptr", "tile_end_ptr",
        "band_start_ptr", "band_size_ptr", "E", "N", "K", "n_column_tiles", "x_divisor", "stride_xm", "stride_ym",
    ]
)  # fmt: skip
def _grouped_gemm_rows_tma_kernel(
    x_desc,  # boxes [BLOCK_M, BLOCK_K]
    x_half_desc,
    x_ptr,
    w_desc,  # boxes [1, BLOCK_N, BLOCK_K], under W_ALONG_N [1, BLOCK_K, BLOCK_N]
    y_desc,  # boxes [BLOCK_M, BLOCK_N]
    y_ptr,
    gather_ptr,
    row_weights_ptr,
    tile_expert_ptr,
    tile_row_ptr,
    tile_end_ptr,
    band_start_ptr,
    band_size_ptr,
    E: tl.int32,
    N: tl.int32,
    K: tl.int32,
    n_column_tiles: tl.int32,
    x_divisor: tl.int32,
    stride_xm: tl.int64,
    stride_ym: tl.int64,
    GATHER: tl.constexpr,
    SCATTER: tl.constexpr,
    FUSE_MUL: tl.constexpr,
    W_ALONG_N: tl.constexpr,
    BOXES_OF_Y: tl.constexpr,
    HALVES: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    program = tl.program_id(0)
    start = tl.load(band_start_ptr + program // n_column_tiles)
    size = tl.load(band_size_ptr + program // n_column_tiles)
    place = program - start * n_column_tiles
    t = start + place % size
    n = place // size * BLOCK_N
    e = tl.load(tile_expert_ptr + t)
    row = tl.load(tile_row_ptr + t)
    end = tl.load(tile_end_ptr + t)
    if row >= end:
        return
    if SCATTER and e >= E:
        return
    depth = tl.where(e < E, K, 0)
    if HALVES and end - row <= BLOCK_M // 2:
        _tile(
            x_half_desc, x_ptr, w_desc, y_desc, y_ptr, gather_ptr, row_weights_ptr, e, row, end, n, N, depth, x_divisor,
            stride_xm, stride_ym, GATHER, SCATTER, FUSE_MUL, W_ALONG_N, False, BLOCK_M // 2, BLOCK_N, BLOCK_K,
        )  # fmt: skip
    else:
        _tile(
            x_desc, x_ptr, w_desc, y_desc, y_ptr, gather_ptr, row_weights_ptr, e, row, end, n, N, depth, x_divisor,
            stride_xm, stride_ym, GATHER, SCATTER, FUSE_MUL, W_ALONG_N, BOXES_OF_Y, BLOCK_M, BLOCK_N, BLOCK_K,
        )  # fmt: skip


def grouped_gemm_rows_tma(
    x: torch.Tensor,  # [*, K], [T, K] or [M, K]
    w: torch.Tensor,  # [E, N, K], contiguous along K or N
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
    E, N, K = w.shape
    block_m, n_column_tiles = schedule.block_m, -(-N // block_n)
    along_n = w.stride(2) != 1
    halves = block_m >= 64
    boxes_of_y = not row_map.scatter and y.element_size() <= x.element_size()
    unused = schedule.tile_expert  # a pointer that is never read
    _grouped_gemm_rows_tma_kernel[(n_tiles * n_column_tiles,)](
        None if row_map.gather else boxes(x, block_m, block_k),
        None if row_map.gather or not halves else boxes(x, block_m // 2, block_k), x,
        boxes(w.transpose(1, 2), 1, block_k, block_n) if along_n else boxes(w, 1, block_n, block_k),
        boxes(y, block_m, block_n) if boxes_of_y else None, y,
        unused if row_map.gather_indices is None else row_map.gather_indices,
        unused if row_map.row_weights is None else row_map.row_weights,
        schedule.tile_expert, schedule.tile_row, schedule.tile_end, schedule.band_start, schedule.band_size,
        E, N, K, n_column_tiles, row_map.x_divisor, x.stride(0), y.stride(0),
        GATHER=row_map.gather, SCATTER=row_map.scatter, FUSE_MUL=row_map.row_weights is not None,
        W_ALONG_N=along_n, BOXES_OF_Y=boxes_of_y, HALVES=halves,
        BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k, num_warps=config.num_warps, num_stages=config.num_stages,
    )  # fmt: skip
    return y
