"""Claims about two runs of an MoE block: what one gives the other gives too, bit for bit, on any data."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from moefuzz.harness.levels.cases import MoeBlockCase
from moefuzz.harness.verdict.check import check
from moefuzz.strategies import regimes

from .from_regimes import Property, blocks_from, fewer
from .test_relations import on_a_gpu


def related(relation: str) -> Callable[[Property], Property]:
    """Give a property the cases of one relation."""
    given_cases = blocks_from(functools.partial(regimes.related_blocks, relation=relation), briefly=True)
    return lambda property_: fewer(given_cases(property_))


@pytest.mark.heavy  # `make test` has it at another level
@related("repeated")
def test_the_same_run_gives_the_same_bits_whatever_the_memory_held(case: MoeBlockCase) -> None:
    check(case)


@pytest.mark.heavy  # `make test` has it at another level
@related("other shapes between")
def test_another_block_in_between_changes_nothing(case: MoeBlockCase) -> None:
    check(case)


@pytest.mark.heavy  # `make test` has it at another level
@related("foreign weights NaN")
def test_nan_in_one_experts_weights_reaches_the_tokens_that_chose_it_alone(case: MoeBlockCase) -> None:
    check(case)


@pytest.mark.heavy  # `make test` has it at another level
@related("foreign gradients NaN")
def test_nan_in_one_tokens_gradient_reaches_its_experts_alone(case: MoeBlockCase) -> None:
    check(case)


@related("batch reshaped")
def test_a_sequence_for_each_token_gives_the_same_bits(case: MoeBlockCase) -> None:
    check(case)


@related("experts frozen")
def test_frozen_experts_leave_the_other_gradients_as_they_are(case: MoeBlockCase) -> None:
    check(case)


@pytest.mark.heavy  # `make test` has it at another level
@related("gradients accumulated")
def test_a_second_backward_pass_adds_the_same_gradients(case: MoeBlockCase) -> None:
    check(case)


@on_a_gpu
@related("other stream")
def test_a_side_stream_gives_the_same_bits(case: MoeBlockCase) -> None:
    check(case)
