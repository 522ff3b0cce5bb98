"""Claims about two calls of a grouped GEMM: what one gives follows from the other, whatever the reference says."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from moefuzz.harness.base.device import device
from moefuzz.harness.levels.cases import GroupedGemmCase
from moefuzz.harness.verdict.check import check
from moefuzz.strategies import regimes

from .from_regimes import Property, gemms_from

on_a_gpu = pytest.mark.skipif(device().type != "cuda", reason="needs a CUDA GPU")


def related(relation: str) -> Callable[[Property], Property]:
    """Give a property the cases of one relation."""
    regime = functools.partial(regimes.related_cases, relation=relation)
    return gemms_from(functools.update_wrapper(regime, regimes.related_cases))


@related("repeated")
def test_the_same_call_gives_the_same_bits_whatever_the_memory_held(case: GroupedGemmCase) -> None:
    check(case)


@related("other shapes between")
def test_another_shape_in_between_changes_nothing(case: GroupedGemmCase) -> None:
    check(case)


@related("experts permuted")
def test_permuting_the_experts_permutes_the_blocks(case: GroupedGemmCase) -> None:
    check(case)


@related("rows permuted")
def test_permuting_the_tokens_of_an_expert_permutes_its_rows(case: GroupedGemmCase) -> None:
    check(case)


@related("empty expert inserted")
def test_an_empty_expert_changes_nothing_else_and_gets_a_zero_dw(case: GroupedGemmCase) -> None:
    check(case)


@related("expert split")
def test_splitting_an_expert_in_two_changes_no_row(case: GroupedGemmCase) -> None:
    check(case)


@related("rows in two calls")
def test_a_batch_in_two_calls_gives_the_same_rows(case: GroupedGemmCase) -> None:
    check(case)


@related("row copied")
def test_copies_of_a_token_give_copies_of_its_row(case: GroupedGemmCase) -> None:
    check(case)


@related("N padded")
def test_zeros_beyond_n_change_nothing_else(case: GroupedGemmCase) -> None:
    check(case)


@related("K padded")
def test_zeros_beyond_k_change_nothing(case: GroupedGemmCase) -> None:
    check(case)


@related("scaled")
def test_twice_x_gives_twice_y_and_dw(case: GroupedGemmCase) -> None:
    check(case)


@related("foreign rows NaN")
def test_nan_in_one_experts_rows_reaches_nobody_else(case: GroupedGemmCase) -> None:
    check(case)


@related("foreign weights NaN")
def test_nan_in_one_experts_weights_reaches_nobody_else(case: GroupedGemmCase) -> None:
    check(case)


@related("other tiles")
def test_every_tile_configuration_agrees_with_every_other(case: GroupedGemmCase) -> None:
    check(case)


@related("strides dropped")
def test_a_strided_view_agrees_with_its_copy(case: GroupedGemmCase) -> None:
    check(case)


@related("fewer gradients")
def test_fewer_gradients_leave_the_others_as_they_are(case: GroupedGemmCase) -> None:
    check(case)


@related("gradients accumulated")
def test_a_second_backward_pass_adds_the_same_gradients(case: GroupedGemmCase) -> None:
    check(case)


@related("autocast")
def test_autocast_is_right_or_refused(case: GroupedGemmCase) -> None:
    check(case)


@on_a_gpu
@related("other stream")
def test_a_side_stream_gives_the_same_bits(case: GroupedGemmCase) -> None:
    check(case)


@on_a_gpu
@related("graph replayed")
def test_a_replayed_graph_gives_the_same_bits(case: GroupedGemmCase) -> None:
    check(case)
