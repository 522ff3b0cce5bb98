"""y[m, n] = sum_k x[m, k] * w[e(m), n, k] for sorted rows of 16 bits, by the pipeline of Hopper (hopper_pipeline.py).

It computes the same as rows_tma.py if no row is gathered, scattered or weighted, with the same shapes and tiles:

    x [M, K]   w [E, N, K], contiguous along k, or under W_ALONG_N along n   y [M, N] in their type, accumulated in float32

A tile is the 128 rows of tile t by columns j*BLOCK_N + [0, BLOCK_N), band by band (tile_schedule.py). Group h owns its rows h*64 + [0, 64);
if an expert's last tile has no rows for the second group, that one only releases the stages. A group stores a finished tile in parts,
between the steps of its next tile. 64 whole rows of y are stored as boxes, fewer by pointers.
A box of x may contain the next expert's rows: they reach rows of the accumulator that are not stored. Masks, where pointers are used:
m < tile_end, and n < N by groups of 8 columns, of which N is a multiple.
Rows that no expert owns have an empty contraction: zeros are stored.
"""

from __future__ import annotations

import torch
import triton.language as tl
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mbarrier, tma, warpgroup_mma, warpgroup_mma_wait

from .. import launching
from .hopper_pipeline import (
    AHEAD,
    HALF,
    PART,
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
from .tile_schedule import TileSchedule
from .tma_boxes import boxes


@gluon.jit
def _choose(tile_expert_ptr, tile_row_ptr, tile_end_ptr, band_start_ptr, band_size_ptr, counter_ptr, n_tiles, n_column_tiles, box):
    program = gl.program_id(0)
    n_programs = n_tiles * n_column_tiles
    count = 0
    while program < n_programs:
        start = gl.load(band_start_ptr + program // n_column_tiles)
        size = gl.load(band_size_ptr + program // n_column_tiles)
        place = program - start * n_column_tiles
        t = start + place % size
        row = gl.load(tile_row_ptr + t)
        end = gl.load(tile_end_ptr + t)
        if row < end:
            hand_out(box, count, gl.load(tile_expert_ptr + t), row, end, place // size)
            count += 1
            program = later_tile(counter_ptr, box, count)
        else:
            program = n_programs  # tiles that are not needed come last
    hand_out(box, count, 0, 0, -1, 0)


@gluon.jit
def _load(
    x_desc, w_desc, E, K, stages, box, W_ALONG_N: gl.constexpr, BLOCK_N: gl.constexpr, BLOCK_K: gl.constexpr, STAGES: gl.constexpr
):  # fmt: skip
    x_stages, w_stages, full, empty = stages
    X_BYTES: gl.constexpr = HALF * BLOCK_K * 2
    W_BYTES: gl.constexpr = BLOCK_N * BLOCK_K * 2
    step = 0
    count = 0
    e, row, end, j = take(box, count)
    while end >= 0:
        n = j * BLOCK_N
        both = row + HALF < end
        n_steps = gl.where(e < E, (K + BLOCK_K - 1) // BLOCK_K, 0)
        want(box, n_steps == 0)
        for i in range(n_steps):
            want(box, i == gl.maximum(n_steps - AHEAD, 0))
            k = i * BLOCK_K
            stage = step % STAGES
            ready = full.index(stage)
            mbarrier.wait(empty.index(stage), step // STAGES & 1 ^ 1)
            if both:
                mbarrier.expect(ready, 2 * X_BYTES + W_BYTES)
                load_box(x_desc, [row + HALF, k], ready, x_stages.index(stage * 2 + 1))
            else:
                mbarrier.expect(ready, X_BYTES + W_BYTES)
            load_box(x_desc, [row, k], ready, x_stages.index(stage * 2))
            if W_ALONG_N:
                load_box(w_desc, [e, k, n], ready, w_stages.index(stage))
            else:
                load_box(w_desc, [e, n, k], ready, w_stages.index(stage))
            step += 1
        count += 1
        e, row, end, j = take(box, count)


@gluon.jit
def _steps(
    WHICH: gl.constexpr, acc, first, begin, end, stages,
    W_ALONG_N: gl.constexpr, BLOCK_N: gl.constexpr, BLOCK_K: gl.constexpr, STAGES: gl.constexpr,
):  # fmt: skip
    """Do steps [begin, end) of the tile that begins with step ``first`` of this program; the last one is still running on return."""
    x_stages, w_stages, full, empty = stages
    for i in range(begin, end):
        stage = (first + i) % STAGES
        mbarrier.wait(full.index(stage), (first + i) // STAGES & 1)
        if W_ALONG_N:
            w = w_stages.index(stage).reshape([BLOCK_K, BLOCK_N])
        else:
            w = w_stages.index(stage).reshape([BLOCK_N, BLOCK_K]).permute([1, 0])
        acc = warpgroup_mma(x_stages.index(stage * 2 + WHICH), w, acc, is_async=True)
        acc = warpgroup_mma_wait(1, deps=(acc,))
        mbarrier.arrive(empty.index((first + i + STAGES - 1) % STAGES), count=1, pred=i > 0)
    return acc


@gluon.jit
def _store(WHICH: gl.constexpr, p: gl.constexpr, parts, y_desc, y_ptr, N, stride_ym, row, end, n, y_boxes):
    """Store part ``p`` of a tile; its box is free when at most the last store, from the other box, is still reading.

    A part that is stored by pointers does not count, so that after it the last store may be of this box: it waits for all stores.
    """
    y_box = y_boxes.index(2 * WHICH + p % 2)
    n += p * PART
    if row + HALF <= end:
        tma.store_wait(min(len(parts), 2) - 1)
        y_box.store(parts[p])
        fence_async_shared()
        store_box(y_desc, [row, n], y_box)
    else:
        wide: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [4, 1], [1, 0])
        tma.store_wait(0)
        y_box.store(parts[p])
        rm = row + gl.arange(0, HALF, gl.SliceLayout(1, wide))
        rn = n + gl.arange(0, PART, gl.SliceLayout(0, wide))
        ptrs = gl.multiple_of((y_ptr + rm.to(gl.int64) * stride_ym)[:, None] + rn[None, :], (16, 16))
        gl.store(ptrs, y_box.load(wide), mask=(rm < end)[:, None] & (rn // 8 * 8 < N)[None, :])


@gluon.jit
def _multiply(
    WHICH: gl.constexpr, y_desc, y_ptr, E, N, K, stride_ym, y_boxes, stages, box,
    W_ALONG_N: gl.constexpr, BLOCK_N: gl.constexpr, BLOCK_K: gl.constexpr, STAGES: gl.constexpr,
):  # fmt: skip
    x_stages, w_stages, full, empty = stages
    layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_N, 16])
    PARTS: gl.constexpr = BLOCK_N // PART
    first = 0
    count = 0
    made = gl.zeros((HALF, BLOCK_N), y_desc.dtype, layout)
    made_row, made_end, made_j = 0, 0, 0  # no rows: nothing of it is stored
    e, row, end, j = take(box, count)
    while end >= 0:
        n_steps = gl.where(e < E, (K + BLOCK_K - 1) // BLOCK_K, 0)
        row += WHICH * HALF
        if row < end:
            acc = gl.zeros((HALF, BLOCK_N), gl.float32, layout)
            parts = parts_of(made, BLOCK_N)
            done = 0
            for p in gl.static_range(PARTS):
                until = steps_before(p, n_steps, PARTS)
                acc = _steps(WHICH, acc, first, done, until, stages, W_ALONG_N, BLOCK_N, BLOCK_K, STAGES)
                _store(WHICH, p, parts, y_desc, y_ptr, N, stride_ym, made_row, made_end, made_j * BLOCK_N, y_boxes)
                done = until
            acc = _steps(WHICH, acc, first, done, n_steps, stages, W_ALONG_N, BLOCK_N, BLOCK_K, STAGES)
            acc = warpgroup_mma_wait(0, deps=(acc,))
            mbarrier.arrive(empty.index((first + n_steps + STAGES - 1) % STAGES), count=1, pred=n_steps > 0)
            made = acc.to(y_desc.dtype)
            made_row, made_end, made_j = row, end, j
        else:
            for step in range(first, first + n_steps):
                mbarrier.wait(full.index(step % STAGES), step // STAGES & 1)
                mbarrier.arrive(empty.index(step % STAGES), count=1)
        first += n_steps
        count += 1
        e, row, end, j = take(box, count)
    parts = parts_of(made, BLOCK_N)
    for p in gl.static_range(PARTS):
        _store(WHICH, p, parts, y_desc, y_ptr, N, stride_ym, made_row, made_end, made_j * BLOCK_N, y_boxes)
    tma.store_wait(0)


@launching.gluon_jit(
    do_not_specialize=[
        "y_ptr", "tile_expert_ptr", "tile_row_ptr", "tile_end_ptr", "band_start_ptr", "band_size_ptr", "counter_ptr",
        "E", "N", "K", "n_tiles", "n_column_tiles", "stride_ym",
    ]
)  # fmt: skip
def _grouped_gemm_rows_hopper_kernel(
    x_desc,  # boxes [64, BLOCK_K]
    w_desc,  # boxes [1, BLOCK_N, BLOCK_K], under W_ALONG_N [1, BLOCK_K, BLOCK_N]
    y_desc,  # boxes [64, 64]
    y_ptr,
    tile_expert_ptr,
    tile_row_ptr,
    tile_end_ptr,
    band_start_ptr,
    band_size_ptr,
    counter_ptr,  # [1], zero
    E: tl.int32,
    N: tl.int32,
    K: tl.int32,
    n_tiles: tl.int32,
    n_column_tiles: tl.int32,
    stride_ym: tl.int64,
    W_ALONG_N: gl.constexpr,
    BLOCK_N: gl.constexpr,
    BLOCK_K: gl.constexpr,
    STAGES: gl.constexpr,
):
    x_stages = gl.allocate_shared_memory(x_desc.dtype, [2 * STAGES, HALF, BLOCK_K], x_desc.layout)
    w_stages = gl.allocate_shared_memory(w_desc.dtype, [STAGES] + w_desc.block_type.shape, w_desc.layout)
    y_boxes = gl.allocate_shared_memory(y_desc.dtype, [4, HALF, PART], y_desc.layout)
    stages = (x_stages, w_stages, barriers(STAGES, 1), barriers(STAGES, 2))
    box = mailbox()
    gl.warp_specialize(
        [
            (_multiply, (0, y_desc, y_ptr, E, N, K, stride_ym, y_boxes, stages, box, W_ALONG_N, BLOCK_N, BLOCK_K, STAGES)),
            (_multiply, (1, y_desc, y_ptr, E, N, K, stride_ym, y_boxes, stages, box, W_ALONG_N, BLOCK_N, BLOCK_K, STAGES)),
            (_load, (x_desc, w_desc, E, K, stages, box, W_ALONG_N, BLOCK_N, BLOCK_K, STAGES)),
            (
                _choose,
                (tile_expert_ptr, tile_row_ptr, tile_end_ptr, band_start_ptr, band_size_ptr, counter_ptr, n_tiles, n_column_tiles, box),
            ),
        ],
        [4, 1, 1],
        [240, 24, 24],
    )


def grouped_gemm_rows_hopper(
    x: torch.Tensor,  # [M, K], 16-bit
    w: torch.Tensor,  # [E, N, K], contiguous along K or N
    y: torch.Tensor,  # [M, N] in their type
    schedule: TileSchedule,  # tiles of 128 rows
    *,
    block_n: int,
    block_k: int,
    stages: int,
) -> torch.Tensor:
    """Launch the kernel of this file and return ``y``, in which rows that no expert owns are zeros."""
    n_tiles = schedule.tile_expert.numel()
    if n_tiles == 0:
        return y
    E, N, K = w.shape
    n_column_tiles = -(-N // block_n)
    along_n = w.stride(2) != 1
    counter = torch.zeros(1, dtype=torch.int32, device=x.device)
    _grouped_gemm_rows_hopper_kernel[(min(programs_at_once(x.device), n_tiles * n_column_tiles),)](
        swizzled(boxes(x, 64, block_k)),
        swizzled(boxes(w.transpose(1, 2), 1, block_k, block_n) if along_n else boxes(w, 1, block_n, block_k)),
        swizzled(boxes(y, 64, 64)), y,
        schedule.tile_expert, schedule.tile_row, schedule.tile_end, schedule.band_start, schedule.band_size, counter,
        E, N, K, n_tiles, n_column_tiles, y.stride(0),
        W_ALONG_N=along_n, BLOCK_N=block_n, BLOCK_K=block_k, STAGES=stages, num_warps=4,
    )  # fmt: skip
    return y
