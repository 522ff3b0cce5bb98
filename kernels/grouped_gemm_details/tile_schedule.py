"""Compute on the device, in one launch, which rows of which expert each tile of the row kernels owns, and which tiles form a band.

    tiles[e] = ceil(m_sizes[e] / BLOCK_M)        tile t belongs to the e with sum(tiles[:e]) <= t < sum(tiles[:e + 1])

    m_sizes [E] int32 or int64   tile_expert, tile_row, tile_end, band_start, band_size [n_tiles] int32

A virtual expert, number E, owns the rows beyond the sum of m_sizes, so that their tiles are written too.
No value is read on the host, so a launch can be captured in a CUDA graph: the number of tiles is an upper bound that follows from the
shapes alone, and the tiles that are not needed own no rows.
The tiles of an expert form bands of 16, the last one with the remainder. Kernels that load boxes process a band's tiles for one tile of
columns, then for the next: tiles that need the same columns of w begin together, and find them in the L2 cache (docs/evidence/speed.md).
Program i computes entries i*BLOCK_T + [0, BLOCK_T), each against all experts [BLOCK_E]. Masks: e < E in loads, t < n_tiles in stores.
Even with invalid sizes, negative ones or more rows than M, no entry refers to a band outside of the entries.
The blocks depend on E alone, in few steps, and block_m is not a constant, so that few variants of this kernel are compiled.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from .. import launching, triton_interpreter

triton_interpreter.repair()

_ENTRIES = 1 << 13
"""BLOCK_T * BLOCK_E: the comparisons of a program at once."""
_BAND = tl.constexpr(16)
"""Tiles of a band."""


class TileSchedule(NamedTuple):
    """Tile t owns rows tile_row[t] + [0, block_m) below tile_end[t], where its expert's rows end.

    Its band is tiles band_start[t] + [0, band_size[t]); a tile that is not needed is a band of its own.
    """

    tile_expert: torch.Tensor  # [n_tiles], E for rows that no expert owns
    tile_row: torch.Tensor  # [n_tiles]
    tile_end: torch.Tensor  # [n_tiles]; 0, as is tile_row, if the tile is not needed
    band_start: torch.Tensor  # [n_tiles]
    band_size: torch.Tensor  # [n_tiles]
    block_m: int


def tile_bound(M: int, E: int, block_m: int) -> int:
    """Return the largest number of tiles that any split of M rows over E experts and the virtual one needs.

    Of n owners with at least one row each, every one wastes less than a tile: sum ceil(m_e / b) <= (M - n) // b + n, which grows with n.

    >>> tile_bound(33, 4, 16), tile_bound(3, 128, 16), tile_bound(0, 4, 16)
    (6, 3, 0)
    """
    busy = min(E + 1, M)
    return (M - busy) // block_m + busy


def experts_block(E: int) -> int:
    """Return BLOCK_E, at least E + 1 with the virtual expert: one of few sizes, as each is compiled, or else the next power of two.

    >>> experts_block(31), experts_block(32), experts_block(128), experts_block(5000)
    (32, 256, 256, 8192)
    """
    for block in (32, 256, 1024):
        if block > E:
            return block
    power: int = triton.next_power_of_2(E + 1)
    return power


@launching.jit(
    do_not_specialize=[
        "m_sizes_ptr", "tile_expert_ptr", "tile_row_ptr", "tile_end_ptr", "band_start_ptr", "band_size_ptr", "M", "E", "n_tiles", "block_m",
    ]
)  # fmt: skip
def _tile_schedule_kernel(
    m_sizes_ptr,
    tile_expert_ptr,
    tile_row_ptr,
    tile_end_ptr,
    band_start_ptr,
    band_size_ptr,
    M: tl.int32,
    E: tl.int32,
    n_tiles: tl.int32,
    block_m: tl.int32,
    BLOCK_T: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    e = tl.arange(0, BLOCK_E)  # [BLOCK_E]
    sizes = tl.load(m_sizes_ptr + e, mask=e < E, other=0).to(tl.int32)
    sizes = tl.maximum(tl.where(e == E, M - tl.sum(sizes, 0), sizes), 0)
    tiles = (sizes + (block_m - 1)) // block_m
    row_ends = tl.cumsum(sizes, 0)
    tile_ends = tl.cumsum(tiles, 0)
    tile_starts = tile_ends - tiles
    row_shift = row_ends - sizes - tile_starts * block_m  # an expert's first row, less the rows of all tiles before
    t = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)  # [BLOCK_T]
    tile = t[:, None]
    is_its = (tile_starts[None, :] <= tile) & (tile < tile_ends[None, :])  # [BLOCK_T, BLOCK_E], one expert at most
    end = tl.sum(tl.where(is_its, row_ends[None, :], 0), 1)
    is_needed = end > 0
    row = tl.where(is_needed, tl.sum(tl.where(is_its, row_shift[None, :], 0), 1) + t * block_m, 0)
    tile_start = tl.sum(tl.where(is_its, tile_starts[None, :], 0), 1)
    tile_end = tl.minimum(tl.sum(tl.where(is_its, tile_ends[None, :], 0), 1), n_tiles)
    band_start = tl.where(is_needed, t - (t - tile_start) % _BAND, t)
    mask_t = t < n_tiles
    tl.store(tile_expert_ptr + t, tl.sum(tl.where(is_its, e[None, :], 0), 1), mask=mask_t)
    tl.store(tile_row_ptr + t, row, mask=mask_t)
    tl.store(tile_end_ptr + t, end, mask=mask_t)
    tl.store(band_start_ptr + t, band_start, mask=mask_t)
    tl.store(band_size_ptr + t, tl.where(is_needed, tl.minimum(tile_end - band_start, _BAND), 1), mask=mask_t)


def tile_schedule(m_sizes: torch.Tensor, M: int, block_m: int) -> TileSchedule:
    """Lay out ``m_sizes`` [E] (int32 or int64) in row tiles of ``block_m``; M is the number of rows of X, at least their sum."""
    E = m_sizes.numel()
    n_tiles = tile_bound(M, E, block_m)
    expert, row, end, start, size = torch.empty(5, n_tiles, dtype=torch.int32, device=m_sizes.device).unbind()
    if n_tiles:
        block_e = experts_block(E)
        block_t = max(1, _ENTRIES // block_e)
        _tile_schedule_kernel[(-(-n_tiles // block_t),)](
            m_sizes, expert, row, end, start, size, M, E, n_tiles, block_m, BLOCK_T=block_t, BLOCK_E=block_e
        )
    return TileSchedule(expert, row, end, start, size, block_m)
