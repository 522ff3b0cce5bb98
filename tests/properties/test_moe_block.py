"""Claims about Qwen3 MoE blocks: every tensor that one shows lies within the carried bound of a float64 run with the same routing."""

from __future__ import annotations

import os

import pytest
from hypothesis import given

from moefuzz.harness.base.device import device
from moefuzz.harness.base.environment import TARGET_VARIABLE
from moefuzz.harness.levels.cases import MoeBlockCase
from moefuzz.harness.levels.moe_block.oracle import bounds_of, topk_ids_of
from moefuzz.harness.levels.moe_block.problem import build_moe_block
from moefuzz.harness.levels.moe_block.run import run_moe_block
from moefuzz.harness.levels.moe_block.stage_checks import check_fwd, check_grads, check_grouped_gemm_results
from moefuzz.harness.targets.registry import OWN_TARGETS, load_target
from moefuzz.harness.verdict.check import check
from moefuzz.strategies import moe_block_cases, regimes

from .from_regimes import blocks_from, fewer


@blocks_from(regimes.any_blocks)
def test_every_tensor_of_a_block_lies_within_its_carried_bound(case: MoeBlockCase) -> None:
    check(case)


@blocks_from(regimes.skewed_blocks)
def test_skewed_routing_reaches_the_right_experts(case: MoeBlockCase) -> None:
    check(case)


@blocks_from(regimes.routed_blocks)
def test_the_router_decides_and_weighs_at_its_corners(case: MoeBlockCase) -> None:
    check(case)


@blocks_from(regimes.square_blocks)
def test_gate_up_and_down_are_not_taken_for_each_other(case: MoeBlockCase) -> None:
    check(case)


@fewer
@blocks_from(regimes.large_blocks)
def test_blocks_of_several_large_tiles_lose_and_gain_nothing(case: MoeBlockCase) -> None:
    check(case)


@fewer
@blocks_from(regimes.released_blocks)
def test_blocks_in_the_proportions_of_released_models(case: MoeBlockCase) -> None:
    check(case)


@blocks_from(regimes.outside_blocks)
def test_what_is_not_declared_is_refused_or_right(case: MoeBlockCase) -> None:
    check(case)


@pytest.mark.skipif(TARGET_VARIABLE in os.environ, reason="a target was asked for, so there are no three to compare")
@given(case=moe_block_cases())
def test_hugging_face_the_torch_twin_and_triton_agree_stage_by_stage(case: MoeBlockCase) -> None:
    problem = build_moe_block(case)
    fused, twin, hf = (run_moe_block(problem, load_target(spec), device()) for spec in OWN_TARGETS["moe_block"])
    fused_stages, twin_stages = fused.forward.grouped_gemm_result, twin.forward.grouped_gemm_result
    assert fused_stages is not None and twin_stages is not None
    bounds = bounds_of(problem, topk_ids=topk_ids_of(problem, twin_stages, "the torch twin"))
    for got, ref in ((twin, hf), (fused, twin), (fused, hf)):
        check_fwd(got.forward, ref.forward, bounds)
        check_grads(got.backward, ref.backward, bounds)
    check_grouped_gemm_results(fused_stages, twin_stages, bounds)
