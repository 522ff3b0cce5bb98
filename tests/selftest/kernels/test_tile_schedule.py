"""The tiles' schedule: each row is its expert's once, in tiles that follow one another; bands hold tiles of one expert."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from moefuzz.kernels.grouped_gemm_details.tile_schedule import tile_schedule

SIZES = st.lists(st.sampled_from([0, 1, 15, 16, 17, 40, 300]), min_size=1, max_size=6)


@example([0, 513, 16], 30, 16)  # bands of 16, 16 and 1 tiles
@example([4096, 300], 0, 16)  # more tiles than one program of the schedule lays out
@given(SIZES, st.integers(0, 70), st.sampled_from([16, 128]))
def test_each_row_is_owned_once_and_bands_are_of_one_expert(sizes: list[int], nobodys: int, block_m: int) -> None:
    M = sum(sizes) + nobodys
    schedule = tile_schedule(torch.tensor(sizes), M, block_m)
    expert, row, end, start, size = (column.tolist() for column in schedule[:5])
    needed = sum(-(-rows // block_m) for rows in (*sizes, nobodys))
    assert all(end[t] == 0 and (start[t], size[t]) == (t, 1) for t in range(needed, len(end)))
    owners = [e for t in range(needed) for e in [expert[t]] * min(block_m, end[t] - row[t])]
    assert owners == [e for e, rows in enumerate((*sizes, nobodys)) for _ in range(rows)]
    assert all(row[t + 1] == min(row[t] + block_m, end[t]) for t in range(needed - 1))
    bands: list[tuple[int, int]] = []
    for rows in (*sizes, nobodys):
        first, tiles = sum(length for _, length in bands), -(-rows // block_m)
        bands += [(first + i, min(16, tiles - i)) for i in range(0, tiles, 16)]
    assert [(start[t], size[t]) for t in range(needed)] == [band for band in bands for _ in range(band[1])]


@pytest.mark.parametrize(("sizes", "M"), [([300], 32), ([16, 300], 32), ([48, 300], 64), ([-100, 400], 64), ([400, -100], 64), ([-5], 70)])
def test_sizes_that_no_caller_may_pass_leave_each_tile_in_one_band(sizes: list[int], M: int) -> None:
    schedule = tile_schedule(torch.tensor(sizes), M, 16)
    n_tiles = len(schedule.tile_row)
    bands = sorted(set(zip(schedule.band_start.tolist(), schedule.band_size.tolist(), strict=True)))
    assert [t for start, size in bands for t in range(start, start + size)] == list(range(n_tiles))
