"""Which expert and which rows a tile of the row kernel owns, computed on the device.

No value is read on the host, so a launch can be captured in a CUDA graph: the number of tiles is an upper bound that follows from the
shapes alone, and the tiles that are not needed carry expert -1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class TileSchedule:
    """Tile t owns rows ``t * block_m + row_shift[e] + [0, block_m)`` below ``row_ends[e]``, with ``e = tile_expert[t]``; all int32."""

    tile_expert: torch.Tensor  # [n_tiles], -1 where the tile is not needed
    row_shift: torch.Tensor  # [E]
    row_ends: torch.Tensor  # [E], inclusive prefix sums of m_sizes
    block_m: int


def tile_bound(M: int, E: int, block_m: int) -> int:
    """The largest number of tiles that any split of M rows over E experts needs.

    Of n experts with at least one row each, every one wastes less than a tile: sum ceil(m_e / b) <= (M - n) // b + n, which grows with n.

    >>> tile_bound(33, 4, 16), tile_bound(3, 128, 16), tile_bound(0, 4, 16)
    (5, 3, 0)
    """
    busy = min(E, M)
    return (M - busy) // block_m + busy


def tile_schedule(m_sizes: torch.Tensor, M: int, block_m: int) -> TileSchedule:
    """Lay out ``m_sizes`` [E] (int32 or int64) in row tiles of ``block_m``; M is the number of rows of X, at least their sum."""
    sizes = m_sizes.to(torch.int32)
    tiles = (sizes + (block_m - 1)) // block_m
    row_ends = sizes.cumsum(0, dtype=torch.int32)
    tile_ends = tiles.cumsum(0, dtype=torch.int32)
    tile = torch.arange(tile_bound(M, sizes.numel(), block_m), dtype=torch.int32, device=sizes.device)
    expert = torch.searchsorted(tile_ends, tile, right=True, out_int32=True)
    row_shift = (row_ends - sizes) - (tile_ends - tiles) * block_m
    return TileSchedule(expert.masked_fill_(expert == sizes.numel(), -1), row_shift, row_ends, block_m)
