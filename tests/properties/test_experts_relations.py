"""Claims about two calls of the experts of an MoE block: what one gives follows from the other."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from moefuzz.harness.levels.cases import ExpertsCase
from moefuzz.harness.verdict.check import check
from moefuzz.strategies import regimes

from .from_regimes import Property, experts_from, fewer
from .test_relations import on_a_gpu


def related(relation: str) -> Callable[[Property], Property]:
    """Give a property the cases of one relation."""
    given_cases = experts_from(functools.partial(regimes.related_experts, relation=relation))
    return lambda property_: fewer(given_cases(property_))


@pytest.mark.heavy  # `make test` has it at another level
@related("repeated")
def test_the_same_call_gives_the_same_bits_whatever_the_memory_held(case: ExpertsCase) -> None:
    check(case)


@pytest.mark.heavy  # `make test` has it at another level
@related("other shapes between")
def test_other_experts_in_between_change_nothing(case: ExpertsCase) -> None:
    check(case)


@related("tokens permuted")
def test_permuting_the_tokens_permutes_their_rows(case: ExpertsCase) -> None:
    check(case)


@pytest.mark.heavy  # `make test` has it at another level
@related("foreign weights NaN")
def test_nan_in_one_experts_weights_reaches_the_tokens_that_chose_it_alone(case: ExpertsCase) -> None:
    check(case)


@related("foreign tokens NaN")
def test_nan_in_one_token_reaches_its_own_rows_and_experts_alone(case: ExpertsCase) -> None:
    check(case)


@related("foreign gradients NaN")
def test_nan_in_one_tokens_gradient_reaches_its_experts_alone(case: ExpertsCase) -> None:
    check(case)


@pytest.mark.heavy  # `make test` has it at another level
@related("fewer gradients")
def test_fewer_gradients_leave_the_others_as_they_are(case: ExpertsCase) -> None:
    check(case)


@pytest.mark.heavy  # `make test` has it at another level
@related("gradients accumulated")
def test_a_second_backward_pass_adds_the_same_gradients(case: ExpertsCase) -> None:
    check(case)


@on_a_gpu
@related("other stream")
def test_a_side_stream_gives_the_same_bits(case: ExpertsCase) -> None:
    check(case)
