"""From large cases to the exact threshold of a fault, in few runs of a case. The faults are made up: no target runs."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from moefuzz.harness.failures import Crash, Failure
from moefuzz.harness.levels.cases import Case, ExpertsCase, GroupedGemmCase
from moefuzz.harness.reduction.minimise import minimise

MOST_RUNS = 1_000
"""Single steps alone took 1,140 to 250,497 runs for these, where they came to the smallest case at all."""


def loads(experts: int, rows: int, multiple: int = 1) -> tuple[int, ...]:
    """So many rows in uneven loads, some of them 0."""
    chance = random.Random(experts)  # noqa: S311
    ends = sorted(chance.randrange(0, rows // multiple + 1) * multiple for _ in range(experts - 1))
    return tuple(end - start for start, end in zip((0, *ends), (*ends, rows // multiple * multiple), strict=True))


def tiles(case: Any) -> int:
    """The tiles of 16 rows by 16 columns."""
    return int(sum(-(-load // 16) for load in case.rows) * -(-case.N // 16))


LARGE = GroupedGemmCase(loads(513, 4_096), N=1_536, K=2_048, dtype="bfloat16", seed=77)
CASES: dict[str, tuple[Case, Callable[[Any], bool], Case]] = {
    "experts": (LARGE, lambda case: case.E > 128, GroupedGemmCase((0,) * 129)),
    "rows": (GroupedGemmCase(loads(7, 70_001), N=8, K=8), lambda case: case.M > 32_768, GroupedGemmCase((32_769,))),
    "rows of one expert": (GroupedGemmCase(loads(9, 20_000)), lambda case: max(case.m_sizes) > 4_096, GroupedGemmCase((4_097,))),
    "columns": (LARGE, lambda case: case.N > 1_024, GroupedGemmCase((0,), N=1_025)),
    "depth and a row": (LARGE, lambda case: case.K > 1_500 and case.M > 0, GroupedGemmCase((1,), K=1_501)),
    "depth in units of 64": (
        GroupedGemmCase((3, 5), N=64, K=7_168), lambda case: case.K % 64 == 0 and case.K > 2_048, GroupedGemmCase((0,), K=2_112),
    ),
    "experts with rows": (LARGE, lambda case: sum(load > 0 for load in case.m_sizes) > 130, GroupedGemmCase((1,) * 131)),
    "a late expert with rows": (LARGE, lambda case: any(case.m_sizes[257:]), GroupedGemmCase((*(0,) * 257, 1))),
    "tiles": (GroupedGemmCase(loads(33, 9_000), N=300), lambda case: tiles(case) > 132, GroupedGemmCase((0,))),
    "rows by choices": (
        GroupedGemmCase(loads(40, 4_000, 8), topk=8, permute="x", N=40), lambda case: case.M > 999 and case.topk > 3,
        GroupedGemmCase((1_000,), topk=4),
    ),
    "experts of a block": (
        ExpertsCase((9,) * 256, topk=8, hidden_size=64, moe_intermediate_size=32), lambda case: case.E > 160,
        ExpertsCase((0,) * 161, hidden_size=1, moe_intermediate_size=1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_large_case_becomes_the_smallest_in_few_runs(name: str) -> None:
    large, where, smallest = CASES[name]
    runs = 0

    def fails(case: Case) -> Failure | None:
        nonlocal runs
        runs += 1
        return Crash(case, "made up", "made up") if where(case) else None

    failure = fails(large)
    assert failure is not None
    found = minimise(failure, fails, seconds=60).case
    if name == "tiles":
        assert tiles(found) == 133
    else:
        assert found == smallest
    assert runs <= MOST_RUNS, runs
