"""Each planted fault is found by a property on a CPU, and minimised: the table states the minimal case and the tensor that tells."""

from __future__ import annotations

import pytest

from moefuzz.harness.levels.cases import GroupedGemmCase
from moefuzz.harness.planted import faults
from moefuzz.strategies.regimes import REGIMES
from moefuzz.tests.selftest.support.strategy_checks import minimal_failure

Case = GroupedGemmCase

MINIMAL = {
    "forgets_the_row_mask": ("any", "WrongValue_dW", Case(m_sizes=(1, 1))),
    "reads_the_next_expert": ("any", "WrongValue_Y", Case(m_sizes=(0, 1))),
    "drops_the_last_k_tile": ("any", "WrongValue_Y", Case(m_sizes=(1,))),
    "loses_the_last_row_tile": ("any", "NotWritten_Y", Case(m_sizes=(1,))),
    "leaves_empty_expert_dw_unwritten": ("any", "NotWritten_dW", Case(m_sizes=(0,))),
    "leaves_tail_rows_unwritten": ("tail", "NotWritten_Y", Case(m_sizes=(0,), tail_rows=1)),
    "weights_in_expert_order": (
        "fused",
        "WrongValue_Y",
        Case(m_sizes=(2,), fuse_mul_post=True, order="reversed", grads="", seed=1),
    ),
    "ignores_permute_y": (
        "permuted",
        "WrongValue_dX",
        Case(m_sizes=(2,), permute="x", is_first_gemm=False, order="reversed"),
    ),
    "gathers_with_the_wrong_topk": ("permuted", "WrongValue_dX", Case(m_sizes=(2,), permute="y")),
    "keeps_one_choice_of_dx": ("permuted", "WrongValue_dX", Case(m_sizes=(2,), topk=2, permute="x")),
    "sums_choices_in_the_output_dtype": (
        "permuted",
        "WrongValue_dX",
        Case(m_sizes=(2,), dtype="bfloat16", topk=2, permute="x", data="normal", seed=1),
    ),
    "accumulates_in_the_output_dtype": ("any", "WrongValue_Y", Case(m_sizes=(1,), K=17, dtype="bfloat16", data="normal")),
    "fills_dead_lanes_with_ones": ("any", "WrongValue_Y", Case(m_sizes=(1,))),
    "reads_slots_behind_the_last": ("permuted", "ReadOutside", Case(m_sizes=(1,), permute="x")),
    "assumes_contiguous_weights": ("any", "NonFinite_Y", Case(m_sizes=(1,), N=2, w_layout="padded")),
}


HEAVY = (
    "loses_the_last_row_tile", "weights_in_expert_order", "gathers_with_the_wrong_topk", "keeps_one_choice_of_dx",
    "sums_choices_in_the_output_dtype", "accumulates_in_the_output_dtype", "fills_dead_lanes_with_ones", "ignores_permute_y",
)  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(fault.name, marks=[pytest.mark.heavy] * (fault.name in HEAVY)) for fault in faults.FAULTS])
def test_a_planted_fault_is_found_and_minimised(name: str) -> None:
    regime, failure_class, case = MINIMAL[name]
    target = getattr(faults, name)
    strategy = REGIMES["grouped_gemm"][regime](target)
    assert strategy is not None
    failure = minimal_failure(strategy, target)
    assert (type(failure).__name__, failure.case) == (failure_class, case)


def test_every_fault_changes_one_place_of_todays_kernels() -> None:
    assert {faults.planted(fault).name for fault in faults.FAULTS} == {f"moefuzz.harness.planted.faults:{name}" for name in MINIMAL}


def test_an_unknown_fault_is_named_with_the_known_ones() -> None:
    with pytest.raises(AttributeError, match="no planted fault 'nonesuch'; there are forgets_the_row_mask"):
        _ = faults.nonesuch
