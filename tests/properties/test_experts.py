"""Claims about the experts of an MoE block alone: output and all four gradients lie within their carried bounds."""

from __future__ import annotations

from moefuzz.harness.levels.cases import ExpertsCase
from moefuzz.harness.verdict.check import check
from moefuzz.strategies import regimes

from .from_regimes import experts_from, fewer


@experts_from(regimes.any_experts)
def test_output_and_gradients_lie_within_their_carried_bounds(case: ExpertsCase) -> None:
    check(case)


@experts_from(regimes.exact_experts)
def test_small_whole_numbers_through_relu_lie_within_bounds_that_are_mostly_zero(case: ExpertsCase) -> None:
    check(case)


@experts_from(regimes.skewed_experts)
def test_skewed_and_starving_experts_get_their_own_tokens_and_gradients(case: ExpertsCase) -> None:
    check(case)


@experts_from(regimes.square_experts)
def test_gate_up_and_down_are_not_taken_for_each_other(case: ExpertsCase) -> None:
    check(case)


@fewer
@experts_from(regimes.large_experts)
def test_experts_of_several_large_tiles_lose_and_gain_nothing(case: ExpertsCase) -> None:
    check(case)


@experts_from(regimes.outside_experts)
def test_what_is_not_declared_is_refused_or_right(case: ExpertsCase) -> None:
    check(case)
