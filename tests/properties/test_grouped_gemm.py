"""Claims about a grouped GEMM: forward, dX and dW lie within the bound of the float64 reference, bit for bit where sums are exact."""

from __future__ import annotations

from hypothesis import target

from moefuzz.harness.levels.cases import GroupedGemmCase
from moefuzz.harness.verdict.check import check
from moefuzz.strategies import regimes

from .from_regimes import fewer, gemms_from


@gemms_from(regimes.any_cases)
def test_forward_and_gradients_lie_within_the_bound(case: GroupedGemmCase) -> None:
    check(case)


@gemms_from(regimes.exact_cases)
def test_exact_sums_agree_bit_for_bit(case: GroupedGemmCase) -> None:
    assert set(check(case).shares.values()) <= {0.0}  # none of what is known


@gemms_from(regimes.rounding_cases)
def test_a_climb_toward_the_bound_does_not_cross_it(case: GroupedGemmCase) -> None:
    target(max(check(case).shares.values(), default=0.0), label="share of the bound")


@gemms_from(regimes.tile_edge_cases)
def test_sizes_at_tile_edges_lose_and_gain_nothing(case: GroupedGemmCase) -> None:
    check(case)


@fewer
@gemms_from(regimes.large_cases)
def test_sizes_at_the_edges_of_large_tiles_lose_and_gain_nothing(case: GroupedGemmCase) -> None:
    check(case)


@gemms_from(regimes.skewed_cases)
def test_skewed_and_starving_experts_get_their_own_rows_and_gradients(case: GroupedGemmCase) -> None:
    check(case)


@gemms_from(regimes.square_cases)
def test_square_weights_are_not_transposed(case: GroupedGemmCase) -> None:
    check(case)


@gemms_from(regimes.permuted_cases)
def test_gathered_input_and_scattered_output_find_their_rows(case: GroupedGemmCase) -> None:
    check(case)


@gemms_from(regimes.fused_cases)
def test_fused_weights_meet_the_rows_of_their_slots(case: GroupedGemmCase) -> None:
    check(case)


@gemms_from(regimes.tail_cases)
def test_rows_beyond_the_sum_of_m_sizes_come_back_as_zeros(case: GroupedGemmCase) -> None:
    check(case)
    check(case)


@gemms_from(regimes.frozen_cases)
def test_any_subset_of_inputs_may_require_grad(case: GroupedGemmCase) -> None:
    check(case)


@fewer
@gemms_from(regimes.far_cases)
def test_offsets_beyond_2_to_the_31_do_not_wrap(case: GroupedGemmCase) -> None:
    check(case)


@gemms_from(regimes.outside_cases)
def test_what_is_not_declared_is_refused_or_right(case: GroupedGemmCase) -> None:
    check(case)
