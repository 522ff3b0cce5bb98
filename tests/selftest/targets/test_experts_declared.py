"""What is drawn at the experts level: every corner, nothing outside a declaration, and its edges, refused or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moefuzz.harness.base.hypothesis_profiles import drawn
from moefuzz.harness.levels.cases import ExpertsCase, MoeBlockCase
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.check import check, failure_of
from moefuzz.kernels.experts import torch_experts
from moefuzz.strategies import experts_cases, moe_block_cases
from moefuzz.strategies.regimes import outside_blocks, outside_experts
from moefuzz.tests.selftest.support.strategy_checks import assert_all_examples, find_any, minimal

LIMITS: list[dict[str, Any]] = [
    {"dtypes": ("bfloat16",)},
    {"k_multiple": 8},
    {"row_bytes": 16},
    {"zero_rows": False},
    {"acts": ("silu",)},
    {"strides": False},
    {"backward": False},
]
CORNERS: dict[str, Callable[[ExpertsCase], object]] = {
    "no token": lambda case: not case.T,
    "one token for many experts": lambda case: case.T == 1 and case.E > 3,
    "an expert without tokens beside one with": lambda case: 0 in case.loads and any(case.loads),
    "every expert chosen": lambda case: case.topk == case.E > 1,
    "2I == H": lambda case: 2 * case.moe_intermediate_size == case.hidden_size,
    "a tile and one more": lambda case: case.hidden_size == 17 or case.moe_intermediate_size == 17,
    "strided weights under frozen experts": lambda case: case.w_layout != "contiguous" and case.grads == "frozen experts",
    "an expanded gradient": lambda case: case.dy_layout == "expanded" and case.grads == "all",
}


def test_the_simplest_case() -> None:
    assert minimal(experts_cases()) == ExpertsCase(loads=(0,), hidden_size=1, moe_intermediate_size=1)


@pytest.mark.parametrize("corner", CORNERS)
def test_corners_are_reached(corner: str) -> None:
    assert CORNERS[corner](find_any(experts_cases(), lambda case: bool(CORNERS[corner](case))))


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_a_limit_bounds_what_is_drawn_and_its_outside_is_drawn_too(limits: dict[str, Any]) -> None:
    target = Target("limited", torch_experts, level="experts", **limits)
    assert_all_examples(experts_cases(target), lambda case: target.limit_on(case) is None)
    outside = outside_experts(target)
    assert outside is not None
    assert_all_examples(outside, lambda case: target.limit_on(case) is not None)


@pytest.mark.parametrize("limits", LIMITS[:5], ids=str)
def test_so_it_is_for_blocks(limits: dict[str, Any]) -> None:
    target = Target("limited", lambda block: block, level="moe_block", **limits)
    assert_all_examples(moe_block_cases(target), lambda case: target.limit_on(case) is None)
    outside = outside_blocks(target)
    assert outside is not None
    assert_all_examples(outside, lambda case: target.limit_on(case) is not None)


ODD = ExpertsCase(loads=(2, 1), hidden_size=5, moe_intermediate_size=8)


def test_outside_a_declaration_a_refusal_is_right_and_a_wrong_result_is_not() -> None:
    def refuses(*given: Any) -> Any:
        if given[0].shape[1] % 8:
            raise ValueError("hidden_size must be a multiple of 8")
        return torch_experts(*given)

    def lies(*given: Any) -> Any:
        return torch_experts(*given) * (given[0].shape[1] % 8 == 0)

    assert "multiple of 8" in check(ODD, Target("refuses", refuses, level="experts", k_multiple=8)).refused
    failure = failure_of(ODD, Target("lies", lies, level="experts", k_multiple=8))
    assert type(failure).__name__ == "NotRefused_WrongValue_output"
    assert failure_of(ODD, Target("lies", lies, level="experts")) is not None


def test_a_block_without_tokens_can_be_outside() -> None:
    target = Target("limited", lambda block: block, level="moe_block", zero_rows=False)
    assert target.limit_on(MoeBlockCase(loads=(0, 0))) == "it has no tokens"


@pytest.mark.parametrize("strategy", [experts_cases, moe_block_cases], ids=["experts", "blocks"])
def test_most_cases_have_a_routing(strategy: Callable[[], st.SearchStrategy[Any]]) -> None:
    seen: list[bool] = []

    @settings(drawn(200), derandomize=True)
    @given(strategy())
    def count(case: Any) -> None:
        seen.append(case.topk < case.E)

    count()
    assert sum(seen) > len(seen) / 2
