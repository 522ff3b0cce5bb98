"""The moe_block level: cases that decide their routing, blocks with a fault that are caught, and checks that name the place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given

from moefuzz.harness.base.device import device
from moefuzz.harness.failures import Disagreement
from moefuzz.harness.levels.cases import ACTS, DTYPES, MoeBlockCase, case_from_json, case_from_repr
from moefuzz.harness.levels.moe_block.oracle import bounds_of
from moefuzz.harness.levels.moe_block.problem import build_moe_block
from moefuzz.harness.levels.moe_block.run import BlockResult, run_moe_block
from moefuzz.harness.levels.moe_block.stage_checks import check_fwd, check_grads, check_grouped_gemm_results
from moefuzz.harness.targets import Target
from moefuzz.harness.targets.registry import OWN_TARGETS, load_target
from moefuzz.harness.verdict.check import failure_of
from moefuzz.kernels.qwen3_moe import Qwen3MoeGroupedGEMMBlock
from moefuzz.strategies import moe_block_cases
from moefuzz.strategies.regimes import routed_blocks, square_blocks
from moefuzz.tests.selftest.support.strategy_checks import assert_all_examples, find_any, minimal

CASE = MoeBlockCase(loads=(3, 1, 4, 0), topk=2)


@given(moe_block_cases())
def test_a_block_case_survives_repr_and_json(case: MoeBlockCase) -> None:
    assert case_from_repr(repr(case)) == case == case_from_json(case.to_json())


@given(moe_block_cases())
def test_a_problem_realises_its_loads_and_decides_its_routing(case: MoeBlockCase) -> None:
    problem = build_moe_block(case)
    assert problem.chosen.sum(0).tolist() == list(case.loads) and (problem.chosen.sum(1) == case.topk).all()
    bounds = bounds_of(problem)
    assert torch.equal(torch.zeros_like(problem.chosen).scatter_(1, torch.from_numpy(bounds.topk_ids), True), problem.chosen)
    assert all(np.isfinite(tensor.error).all() for tensor in bounds.carried().values())


def test_the_simplest_block() -> None:
    assert minimal(moe_block_cases()) == MoeBlockCase(loads=(0,), hidden_size=1, moe_intermediate_size=1)


CORNERS: dict[str, Callable[[MoeBlockCase], bool]] = {
    "no tokens": lambda case: case.T == 0 and case.E > 1,
    "one choice": lambda case: case.topk == 1 and case.E > 3 and case.norm_topk_prob,
    "every expert chosen": lambda case: case.topk == case.E > 2,
    "the last expert starves": lambda case: case.loads[-1] == 0 and case.T > 2 and case.topk > 1,
    "many experts, few tokens": lambda case: case.E > 6 and case.T < 3,
    "odd T": lambda case: case.T % 2 == 1 and case.T > 8,
    "negative logits, relu, both permutes": lambda case: (
        case.logits == "negative" and case.act == "relu" and case.permute_x and case.permute_y
    ),
}


@pytest.mark.parametrize("corner", CORNERS)
def test_corners_of_blocks_are_reached(corner: str) -> None:
    find_any(moe_block_cases(), CORNERS[corner])


def test_square_blocks_are_square() -> None:
    assert_all_examples(
        square_blocks(load_target(OWN_TARGETS["moe_block"][0])), lambda case: 2 * case.moe_intermediate_size == case.hidden_size
    )


def test_negative_logits_are_negative() -> None:
    case = find_any(routed_blocks(load_target(OWN_TARGETS["moe_block"][0])), lambda case: case.logits == "negative" and case.T > 2)
    assert (bounds_of(build_moe_block(case)).router_logits.value < 0).all()


class NotRenormalised(Qwen3MoeGroupedGEMMBlock):
    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **{**keywords, "norm_topk_prob": False})


class GateForUp(Qwen3MoeGroupedGEMMBlock):
    def first_grouped_gemm(self, *args: Any) -> torch.Tensor:
        return torch.cat(super().first_grouped_gemm(*args).chunk(2, dim=1)[::-1], dim=1)


class LosesARow(Qwen3MoeGroupedGEMMBlock):
    def second_grouped_gemm(self, *args: Any) -> tuple[torch.Tensor, torch.Tensor]:
        rows, unsorted = super().second_grouped_gemm(*args)
        return rows, torch.cat([unsorted[:-1], unsorted[-1:] * 0])


class RoutesToOthers(Qwen3MoeGroupedGEMMBlock):
    def run(self, hidden_states: torch.Tensor) -> Any:
        output, logits, result = super().run(hidden_states)
        counts = result.token_counts_by_expert.roll(1)
        return output, logits, dataclasses.replace(result, token_counts_by_expert=counts)


class Detached(Qwen3MoeGroupedGEMMBlock):
    def run(self, hidden_states: torch.Tensor) -> Any:
        return super().run(hidden_states.detach())


class RouterFrozen(Qwen3MoeGroupedGEMMBlock):
    def run(self, hidden_states: torch.Tensor) -> Any:
        self.gate.register_hook(torch.zeros_like)
        return super().run(hidden_states)


WRONG_BLOCKS = {
    NotRenormalised: "WrongValue_topk_weights",
    GateForUp: "WrongValue_first_gemm",
    LosesARow: "WrongValue_hidden_states_unpermute",
    RoutesToOthers: "WrongRouting",
    Detached: "Raised_RuntimeError",
    RouterFrozen: "WrongValue_gate_grad",
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", WRONG_BLOCKS)
def test_a_block_with_a_fault_is_caught_at_the_stage_where_it_shows(block: type[Qwen3MoeGroupedGEMMBlock], dtype: str) -> None:
    failure = failure_of(dataclasses.replace(CASE, dtype=dtype), Target(block.__name__, block.from_hf, level="moe_block"))
    assert type(failure).__name__ == WRONG_BLOCKS[block]


@pytest.mark.parametrize("spec", OWN_TARGETS["moe_block"])
@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_blocks_of_the_package_are_right(dtype: str, act: str, spec: str) -> None:
    assert failure_of(dataclasses.replace(CASE, dtype=dtype, act=act), load_target(spec)) is None


def results() -> tuple[BlockResult, BlockResult, Any]:
    problem = build_moe_block(CASE)
    twin, fused = (run_moe_block(problem, load_target(spec), device()) for spec in OWN_TARGETS["moe_block"][1::-1])
    return fused, twin, bounds_of(problem)


def off_by_one(result: Any, name: str) -> Any:
    changed = getattr(result, name).detach().clone()
    changed.flatten()[-1] += 1
    return dataclasses.replace(result, **{name: changed})


@pytest.mark.parametrize("name", ["router_logits", "output"])
def test_check_fwd_names_tensor_and_place(name: str) -> None:
    fused, twin, bounds = results()
    check_fwd(fused.forward, twin.forward, bounds)
    with pytest.raises(Disagreement, match=rf"^{name} differs at token 3, (expert 3|column 15): got .*, expected .* within .*; 1 of \d+"):
        check_fwd(off_by_one(fused.forward, name), twin.forward, bounds)


@pytest.mark.parametrize("name", ["X_grad", "gate_grad", "gate_proj_grad", "up_proj_grad", "down_proj_grad"])
def test_check_grads_names_tensor_and_place(name: str) -> None:
    fused, twin, bounds = results()
    check_grads(fused.backward, twin.backward, bounds)
    with pytest.raises(Disagreement, match=rf"^{name} differs at (token|expert) 3, "):
        check_grads(off_by_one(fused.backward, name), twin.backward, bounds)


@pytest.mark.parametrize("name", ["gather_indices", "topk_weights", "first_gemm", "intermediate", "second_gemm", "hidden_states_unpermute"])
def test_check_grouped_gemm_results_names_the_stage(name: str) -> None:
    fused, twin, bounds = results()
    stages = fused.forward.grouped_gemm_result, twin.forward.grouped_gemm_result
    check_grouped_gemm_results(*stages, bounds)  # type: ignore[arg-type]
    with pytest.raises(Disagreement, match=f"^{name} differs at "):
        check_grouped_gemm_results(off_by_one(stages[0], name), stages[1], bounds)  # type: ignore[arg-type]
