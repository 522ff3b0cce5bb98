"""Adapters: each is installed under its name, declares what is so, and is right on what it declares."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from moefuzz.harness import cli
from moefuzz.harness.cases import GroupedGemmCase, MoeBlockCase
from moefuzz.harness.target_names import load_target, named_targets
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict import check, failure_of
from moefuzz.kernels import experts
from moefuzz.kernels.routing import sort_by_expert
from moefuzz.strategies.regimes import any_blocks, any_cases, outside_blocks, outside_cases, related_cases

Regimes = dict[str, Callable[[Target], st.SearchStrategy[Any] | None]]

ANY: Regimes = {"grouped_gemm": any_cases, "moe_block": any_blocks}
OUTSIDE: Regimes = {"grouped_gemm": outside_cases, "moe_block": outside_blocks}
RIGHT = ("torch_loop", "torch_grouped_mm", "transformers_grouped_mm", "transformers_triton")
LIMITED = ("torch_grouped_mm", "transformers_grouped_mm")


@pytest.mark.parametrize("name", RIGHT)
@given(data=st.data())
def test_an_adapter_is_right_on_what_it_declares(name: str, data: st.DataObject) -> None:
    target = load_target(name)
    inside = ANY[target.level](target)
    assert inside is not None and target.name == name
    assert not check(data.draw(inside), target).refused


@pytest.mark.parametrize("name", LIMITED)
@given(data=st.data())
def test_what_an_adapter_does_not_declare_is_refused_or_right(name: str, data: st.DataObject) -> None:
    target = load_target(name)
    outside = OUTSIDE[target.level](target)
    assert outside is not None
    check(data.draw(outside), target)


def test_transformers_batched_mm_adds_the_gradients_of_weights_in_their_dtype() -> None:
    case = MoeBlockCase(loads=(2,), hidden_size=2, moe_intermediate_size=1, dtype="float16")
    failure = failure_of(case, load_target("transformers_batched_mm"))
    assert type(failure).__name__ == "WrongValue_down_proj_grad" and failure_of(case, load_target("hugging_face_block")) is None


def test_a_broken_experts_implementation_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experts, "sort_by_expert", lambda ids, E: sort_by_expert(ids.flip(0), E))
    assert failure_of(MoeBlockCase(loads=(1, 1), hidden_size=2), load_target("transformers_triton")) is not None


def test_our_experts_refuse_what_they_do_not_compute() -> None:
    biased = SimpleNamespace(has_bias=True, has_gate=True, is_transposed=False)
    with pytest.raises(ValueError, match="without biases"):
        experts._implementation(biased, torch.ones(1, 2), torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1))


def test_torch_refuses_rows_of_other_than_16_bytes() -> None:
    refused = check(GroupedGemmCase((1,), N=4, K=3), load_target("torch_grouped_mm")).refused
    assert "RuntimeError" in refused and "16" in refused


@pytest.mark.parametrize("relation", ["empty expert inserted", "fewer gradients"])
@given(data=st.data())
def test_a_loop_whose_bits_follow_alignment_breaks_no_relation(relation: str, data: st.DataObject) -> None:
    target = load_target("torch_loop")
    cases = related_cases(target, relation)
    assert cases is not None
    check(data.draw(cases), target)


def test_moefuzz_targets_lists_every_name_and_its_limits() -> None:
    listed = CliRunner().invoke(cli.app, ["targets"], env={"COLUMNS": "200"})
    assert listed.exit_code == 0 and all(name in listed.output for name in named_targets())
    assert "rows of 16 bytes, contiguous" in listed.output


def test_a_name_that_is_not_installed_is_wrong_usage() -> None:
    done = CliRunner().invoke(cli.app, ["fuzz", "--target", "nonesuch"])
    assert done.exit_code == 2 and "or be one of" in done.output and "torch_loop" in done.output
