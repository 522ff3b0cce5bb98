"""Strategies: each regime is reachable, and its simplest value is stated by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis.errors import InvalidArgument

from moefuzz import strategies
from moefuzz.harness.levels.cases import GroupedGemmCase
from moefuzz.harness.targets import Target
from moefuzz.harness.targets.registry import default_target
from moefuzz.strategies import expert_counts, grouped_gemm_cases, kernel_configs, tile_edge_sizes, token_counts
from moefuzz.strategies.regimes import REGIMES
from moefuzz.tests.selftest.support.strategy_checks import assert_all_examples, find_any, minimal

GEMMS = REGIMES["grouped_gemm"]

SIMPLEST = {
    "free_counts": [0],
    "even_counts": [0],
    "one_expert_takes_all": [1],
    "starving_counts": [0, 1],
    "power_law_counts": [1, 0],
    "tile_edge_counts": [0],
    "block_aligned_counts": [0],
    "fewer_rows_than_experts": [0, 0],
    "expert_counts": [0],
}


@pytest.mark.parametrize("name", SIMPLEST)
def test_the_simplest_counts(name: str) -> None:
    assert minimal(getattr(strategies, name)()) == SIMPLEST[name]


COUNTS: dict[str, Callable[[list[int]], bool]] = {
    "the first starves": lambda counts: len(counts) > 1 and not counts[0] and any(counts),
    "the last starves": lambda counts: len(counts) > 1 and not counts[-1] and any(counts),
    "the middle starves": lambda counts: len(counts) == 3 and not counts[1] and bool(counts[0] and counts[2]),
    "one takes all": lambda counts: len(counts) > 3 and sum(map(bool, counts)) == 1,
    "even": lambda counts: len(counts) > 2 and len(set(counts)) == 1 and counts[0] > 1,
    "fewer rows than experts": lambda counts: len(counts) > sum(counts) > 1,
    "aligned": lambda counts: len(counts) > 1 and all(count % 16 == 0 for count in counts) and sum(counts) > 16,
    "power law": lambda counts: counts == sorted(counts, reverse=True) and len(counts) > 4 and counts[0] > 4 * counts[-1] > 0,
    "tile edges": lambda counts: 15 in counts and 17 in counts,
}


@pytest.mark.parametrize("regime", COUNTS)
def test_every_regime_of_counts_is_reached(regime: str) -> None:
    find_any(expert_counts(), COUNTS[regime])


def test_tile_edges_are_reached_and_bounded() -> None:
    for size in (0, 1, 15, 16, 17, 31, 33, 47, 49):
        find_any(tile_edge_sizes(16), size.__eq__)
    assert_all_examples(tile_edge_sizes(16, smallest=2, largest=20), lambda size: 2 <= size <= 20)
    assert minimal(tile_edge_sizes(16)) == 0


def test_token_counts_reach_zero_one_and_odd_numbers() -> None:
    for T in (0, 1, 9, 17):
        find_any(token_counts(), T.__eq__)
    assert minimal(token_counts()) == 0


def test_an_empty_range_is_refused_with_its_values() -> None:
    with pytest.raises(InvalidArgument, match="smallest=9 is larger than largest=8"):
        tile_edge_sizes(16, smallest=9, largest=8)


def test_the_simplest_case() -> None:
    assert minimal(grouped_gemm_cases()) == GroupedGemmCase((0,))
    assert minimal(kernel_configs()) == GroupedGemmCase((0,)).config


CORNERS: dict[str, Callable[[GroupedGemmCase], bool]] = {
    "tokens gathered": lambda case: case.permute == "x" and case.topk > 1 and case.is_first_gemm and case.order == "shuffled",
    "output scattered": lambda case: case.permute == "y" and case.topk > 2,
    "a long tail": lambda case: case.tail_rows > 16 and case.dtype == "bfloat16",
    "aligned": lambda case: case.config is not None and case.config.aligned and case.config.block_n < case.N,
    "aligned in dW alone": lambda case: [config is not None and config.aligned for config in case.configs] == [False, False, True],
    "square": lambda case: case.N == case.K > 16,
    "strided": lambda case: case.w_layout == "transposed" and case.x_layout == "padded",
    "dY expanded, X frozen": lambda case: case.dy_layout == "expanded" and case.grads == "W",
    "fused": lambda case: case.fuse_mul_post and case.data == "wide",
    "every expert chosen": lambda case: case.topk == case.E > 2,
}


@pytest.mark.parametrize("corner", CORNERS)
def test_corners_of_the_general_strategy_are_reached(corner: str) -> None:
    find_any(grouped_gemm_cases(), CORNERS[corner])


@pytest.mark.parametrize("name", [name for name in GEMMS if name != "outside"])
def test_a_plain_function_gets_no_case_outside_its_declaration(name: str) -> None:
    plain = Target("plain", lambda X, W, m_sizes: X, strides=False, dtypes=("bfloat16",))
    cases = GEMMS[name](plain)
    if cases is not None:
        assert_all_examples(cases, lambda case: (case.permute, case.tail_rows, case.fuse_mul_post) == ("none", 0, False))
        assert_all_examples(cases, lambda case: (case.dtype, case.x_layout, case.w_layout) == ("bfloat16", "contiguous", "contiguous"))


def test_our_own_op_declares_every_regime_and_no_limit() -> None:
    assert [name for name, regime in GEMMS.items() if regime(default_target()) is None] == ["outside"]
