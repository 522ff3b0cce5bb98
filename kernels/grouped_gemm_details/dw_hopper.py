"""dw[e, n, k] = sum_{m: e(m) = e} dy[m, n] * x[m, k] for sorted rows of 16 bits, by the pipeline of Hopper (hopper_pipeline.py).

It computes the same as dw_tma.py if no row is gathered, with the same shapes:

    x [M, K]   dy [M, N]   dw [E, N, K] in their type, accumulated in float32

A tile is rows n + [0, 128) and columns k + [0, BLOCK_K) of expert e; group h owns its rows h*64 + [0, 64). The expert's rows
[row_ends[e] - m_sizes[e], row_ends[e]) pass through the ring in steps of BLOCK_M. An expert without rows takes no step: zeros are stored.
Experts with many rows come first (expert_order.py).
A group stores a finished tile in parts, between the steps of its next tile.
x and dy are loaded as ragged boxes, which the hardware fills with zeros after the expert's last row, and beyond N and K. Nothing is masked.
"""

from __future__ import annotations

import torch
import triton.language as tl
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mbarrier, tma, warpgroup_mma, warpgroup_mma_wait

from .. import launching
from .expert_order import heavy_first
from .hopper_pipeline import (
    AHEAD,
    HALF,
    PART,
    ROWS,
    barriers,
    hand_out,
    later_tile,
    load_box,
    mailbox,
    parts_of,
    programs_at_once,
    steps_before,
    store_box,
    swizzled,
    take,
    want,
)
from .tma_boxes import boxes, ragged_boxes

_NO_EXPERT = gl.constexpr(1 << 30)
"""A box that begins at this expert stores nothing. (The hardware rejects one that begins before the first expert.)"""
_RAGGED_ROWS = gl.constexpr(1 << 30)
"""Declared rows of a ragged matrix; an index d below it is the row d before the end of the slice (triton.tools.ragged_tma)."""


@gluon.jit
def _choose(order_ptr, m_sizes_ptr, row_ends_ptr, counter_ptr, n_programs, tiles_of_expert, box):
    program = gl.program_id(0)
    count = 0
    while program < n_programs:
        e = gl.load(order_ptr + program // tiles_of_expert)
        hand_out(box, count, e, program % tiles_of_expert, gl.load(row_ends_ptr + e), gl.maximum(gl.load(m_sizes_ptr + e), 0))
        count += 1
        program = later_tile(counter_ptr, box, count)
    hand_out(box, count, 0, 0, 0, -1)


@gluon.jit
def _load(x_ragged, dy_ragged, n_column_tiles, stages, box, BLOCK_M: gl.constexpr, BLOCK_K: gl.constexpr, STAGES: gl.constexpr):
    dy_stages, x_stages, full, empty = stages
    step = 0
    count = 0
    e, tile, end, size = take(box, count)
    while size >= 0:
        n = tile // n_column_tiles * (2 * HALF)
        k = tile % n_column_tiles * BLOCK_K
        n_steps = (size + BLOCK_M - 1) // BLOCK_M
        want(box, n_steps == 0)
        for i in range(n_steps):
            want(box, i == gl.maximum(n_steps - AHEAD, 0))
            stage = step % STAGES
            ready = full.index(stage)
            at = _RAGGED_ROWS - size + i * BLOCK_M
            mbarrier.wait(empty.index(stage), step // STAGES & 1 ^ 1)
            mbarrier.expect(ready, BLOCK_M * (2 * HALF + BLOCK_K) * 2)
            load_box(dy_ragged, [_RAGGED_ROWS, end, at, n], ready, dy_stages.index(stage * 2))
            load_box(dy_ragged, [_RAGGED_ROWS, end, at, n + HALF], ready, dy_stages.index(stage * 2 + 1))
            load_box(x_ragged, [_RAGGED_ROWS, end, at, k], ready, x_stages.index(stage))
            step += 1
        count += 1
        e, tile, end, size = take(box, count)


@gluon.jit
def _store(WHICH: gl.constexpr, p: gl.constexpr, parts, dw_desc, e, n, k, dw_boxes):
    """Store part ``p`` of a tile; its box is free when at most the last store, from the other box, is still reading."""
    dw_box = dw_boxes.index(2 * WHICH + p % 2)
    tma.store_wait(min(len(parts), 2) - 1)
    dw_box.reshape([HALF, PART]).store(parts[p])
    fence_async_shared()
    store_box(dw_desc, [e, n, k + p * PART], dw_box)


@gluon.jit
def _steps(
    WHICH: gl.constexpr, acc, first, begin, end, stages, BLOCK_M: gl.constexpr, BLOCK_K: gl.constexpr, STAGES: gl.constexpr
):  # fmt: skip
    """Do steps [begin, end) of the tile that begins with step ``first`` of this program; the last one is still running on return."""
    dy_stages, x_stages, full, empty = stages
    for i in range(begin, end):
        stage = (first + i) % STAGES
        mbarrier.wait(full.index(stage), (first + i) // STAGES & 1)
        dy = dy_stages.index(stage * 2 + WHICH).reshape([BLOCK_M, HALF]).permute([1, 0])
        acc = warpgroup_mma(dy, x_stages.index(stage).reshape([BLOCK_M, BLOCK_K]), acc, is_async=True)
        acc = warpgroup_mma_wait(1, deps=(acc,))
        mbarrier.arrive(empty.index((first + i + STAGES - 1) % STAGES), count=1, pred=i > 0)
    return acc


@gluon.jit
def _multiply(
    WHICH: gl.constexpr, dw_desc, n_column_tiles, dw_boxes, stages, box,
    BLOCK_M: gl.constexpr, BLOCK_K: gl.constexpr, STAGES: gl.constexpr,
):  # fmt: skip
    dy_stages, x_stages, full, empty = stages
    layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_K, 16])
    PARTS: gl.constexpr = BLOCK_K // PART
    first = 0
    count = 0
    made = gl.zeros((HALF, BLOCK_K), dw_desc.dtype, layout)
    made_e, made_n, made_k = _NO_EXPERT, 0, 0  # nothing of it is stored
    e, tile, end, size = take(box, count)
    while size >= 0:
        n_steps = (size + BLOCK_M - 1) // BLOCK_M
        acc = gl.zeros((HALF, BLOCK_K), gl.float32, layout)
        parts = parts_of(made, BLOCK_K)
        done = 0
        for p in gl.static_range(PARTS):
            until = steps_before(p, n_steps, PARTS)
            acc = _steps(WHICH, acc, first, done, until, stages, BLOCK_M, BLOCK_K, STAGES)
            _store(WHICH, p, parts, dw_desc, made_e, made_n, made_k, dw_boxes)
            done = until
        acc = _steps(WHICH, acc, first, done, n_steps, stages, BLOCK_M, BLOCK_K, STAGES)
        acc = warpgroup_mma_wait(0, deps=(acc,))
        mbarrier.arrive(empty.index((first + n_steps + STAGES - 1) % STAGES), count=1, pred=n_steps > 0)
        made = acc.to(dw_desc.dtype)
        made_e, made_n, made_k = e, (tile // n_column_tiles * 2 + WHICH) * HALF, tile % n_column_tiles * BLOCK_K
        first += n_steps
        count += 1
        e, tile, end, size = take(box, count)
    parts = parts_of(made, BLOCK_K)
    for p in gl.static_range(PARTS):
        _store(WHICH, p, parts, dw_desc, made_e, made_n, made_k, dw_boxes)
    tma.store_wait(0)


@launching.gluon_jit(
    do_not_specialize=["order_ptr", "m_sizes_ptr", "row_ends_ptr", "counter_ptr", "n_programs", "tiles_of_expert", "n_column_tiles"]
)
def _grouped_gemm_dw_hopper_kernel(
    x_ragged,  # boxes [BLOCK_M, BLOCK_K]
    dy_ragged,  # boxes [BLOCK_M, 64]
    dw_desc,  # boxes [1, 64, 64]
    order_ptr,
    m_sizes_ptr,
    row_ends_ptr,
    counter_ptr,  # [1], zero
    n_programs: tl.int32,
    tiles_of_expert: tl.int32,
    n_column_tiles: tl.int32,
    BLOCK_M: gl.constexpr,
    BLOCK_K: gl.constexpr,
    STAGES: gl.constexpr,
):
    dy_stages = gl.allocate_shared_memory(dy_ragged.dtype, [2 * STAGES] + dy_ragged.block_type.shape, dy_ragged.layout)
    x_stages = gl.allocate_shared_memory(x_ragged.dtype, [STAGES] + x_ragged.block_type.shape, x_ragged.layout)
    dw_boxes = gl.allocate_shared_memory(dw_desc.dtype, [4] + dw_desc.block_type.shape, dw_desc.layout)
    stages = (dy_stages, x_stages, barriers(STAGES, 1), barriers(STAGES, 2))
    box = mailbox()
    gl.warp_specialize(
        [
            (_multiply, (0, dw_desc, n_column_tiles, dw_boxes, stages, box, BLOCK_M, BLOCK_K, STAGES)),
            (_multiply, (1, dw_desc, n_column_tiles, dw_boxes, stages, box, BLOCK_M, BLOCK_K, STAGES)),
            (_load, (x_ragged, dy_ragged, n_column_tiles, stages, box, BLOCK_M, BLOCK_K, STAGES)),
            (_choose, (order_ptr, m_sizes_ptr, row_ends_ptr, counter_ptr, n_programs, tiles_of_expert, box)),
        ],
        [4, 1, 1],
        [240, 24, 24],
    )


def grouped_gemm_dw_hopper(
    x: torch.Tensor,  # [M, K], 16-bit
    dy: torch.Tensor,  # [M, N]
    dw: torch.Tensor,  # [E, N, K], contiguous, written whole
    m_sizes: torch.Tensor,  # [E] int32
    row_ends: torch.Tensor,  # [E] int32
    *,
    block_m: int,
    block_k: int,
    stages: int,
) -> torch.Tensor:
    """Launch the kernel of this file and return ``dw``, every element of which has been written."""
    E, N, K = dw.shape
    if x.shape[0] == 0:
        return dw.zero_()  # a box needs rows
    n_column_tiles = -(-K // block_k)
    tiles_of_expert = -(-N // ROWS) * n_column_tiles
    n_programs = E * tiles_of_expert
    order, counter = heavy_first(m_sizes)
    _grouped_gemm_dw_hopper_kernel[(min(programs_at_once(x.device), n_programs),)](
        swizzled(ragged_boxes(x, block_m, block_k)), swizzled(ragged_boxes(dy, block_m, 64)), swizzled(boxes(dw, 1, 64, 64)),
        order, m_sizes, row_ends, counter, n_programs, tiles_of_expert, n_column_tiles,
        BLOCK_M=block_m, BLOCK_K=block_k, STAGES=stages, num_warps=4,
    )  # fmt: skip
    return dw
