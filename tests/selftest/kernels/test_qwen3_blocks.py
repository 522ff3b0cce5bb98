"""The Qwen3 blocks against each other: Hugging Face's (of either version of transformers), the torch twin, and the one on Triton."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import torch

from moefuzz.harness.levels.moe_block.block_passes import BackwardResult, Block, ForwardResult, run_backward, run_forward
from moefuzz.harness.numerics import recipes
from moefuzz.kernels import qwen3_hf
from moefuzz.kernels.kernel_config import KernelConfig
from moefuzz.kernels.qwen3_moe import GroupedGEMMResult, Qwen3MoeFusedGroupedGEMMBlock, Qwen3MoeGroupedGEMMBlock
from moefuzz.kernels.routing import route, sort_by_expert
from moefuzz.kernels.triton_interpreter import in_force

DEVICE = "cpu" if in_force() else "cuda"
E, H, INTERMEDIATE = 4, 16, 8
PERMUTATIONS = [(False, False), (True, False), (False, True), (True, True)]
PASSES = [field.name for field in dataclasses.fields(BackwardResult)]


def values(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(recipes.values("normal", seed, 0, shape)).to(DEVICE) * 2


def hf_block(topk: int = 2, dtype: torch.dtype = torch.float32, norm: bool = True, act: str = "silu") -> Any:
    block = qwen3_hf.qwen3_block(qwen3_hf.qwen3_config(E, topk, H, INTERMEDIATE, norm, act), dtype, DEVICE)
    qwen3_hf.set_weights(block, values(E, H, seed=1), values(E, 2 * INTERMEDIATE, H, seed=2) / 4, values(E, H, INTERMEDIATE, seed=3) / 3)
    return block


def both_passes(block: Block, X: torch.Tensor) -> tuple[ForwardResult, BackwardResult]:
    forward = run_forward(block, X)
    return forward, run_backward(block, forward, values(*X.shape, seed=4).to(X.dtype))


def intermediates(block: Block, X: torch.Tensor) -> GroupedGEMMResult:
    result = run_forward(block, X).grouped_gemm_result
    assert result is not None
    return result


def assert_same_run(block: Block, reference: Block, X: torch.Tensor, rtol: float = 1e-5) -> None:
    forward, backward = both_passes(block, X)
    expected_forward, expected_backward = both_passes(reference, X)
    for name in ("output", "router_logits"):
        assert_close(name, getattr(forward, name), getattr(expected_forward, name), rtol)
    for name in PASSES:
        assert_close(name, getattr(backward, name), getattr(expected_backward, name), rtol)


def assert_close(name: str, actual: torch.Tensor, expected: torch.Tensor, rtol: float) -> None:
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype), name
    if expected.numel():
        error, largest = (actual - expected).abs().max().item(), expected.abs().max().item()
        assert error <= rtol * largest, f"{name}: error {error}, largest value {largest}"


@pytest.mark.parametrize(("permute_x", "permute_y"), PERMUTATIONS)
def test_the_fused_block_agrees_with_hf(permute_x: bool, permute_y: bool) -> None:
    block = hf_block()
    fused = Qwen3MoeFusedGroupedGEMMBlock.from_hf(block, permute_x=permute_x, permute_y=permute_y)
    assert_same_run(fused, block, values(2, 3, H))


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("topk", [2, E])
def test_the_torch_twin_agrees_with_hf(topk: int, norm: bool) -> None:
    block = hf_block(topk, norm=norm)
    assert_same_run(Qwen3MoeGroupedGEMMBlock.from_hf(block), block, values(2, 3, H))


@pytest.mark.parametrize(("permute_x", "permute_y"), PERMUTATIONS)
@pytest.mark.parametrize(("topk", "norm"), [(1, False), (E, True)])
def test_the_fused_block_agrees_with_the_twin_at_the_ends_of_topk(topk: int, norm: bool, permute_x: bool, permute_y: bool) -> None:
    block = hf_block(topk, norm=norm)
    fused = Qwen3MoeFusedGroupedGEMMBlock.from_hf(block, permute_x=permute_x, permute_y=permute_y)
    assert_same_run(fused, Qwen3MoeGroupedGEMMBlock.from_hf(block), values(1, 3, H))


@pytest.mark.parametrize("hidden_act", ["relu", "gelu_pytorch_tanh"])
def test_the_activation_is_the_config_s(hidden_act: str) -> None:
    block = hf_block(act=hidden_act)
    assert_same_run(Qwen3MoeGroupedGEMMBlock.from_hf(block), block, values(1, 3, H))


def test_the_fused_block_takes_kernel_configs() -> None:
    block, config = hf_block(), KernelConfig(block_m=16, block_n=16, block_k=16)
    configs = dict.fromkeys(("kernel_config_fwd", "kernel_config_bwd_dX", "kernel_config_bwd_dW"), config)
    assert_same_run(Qwen3MoeFusedGroupedGEMMBlock.from_hf(block, permute_x=True, **configs), block, values(1, 5, H))


def test_with_one_renormalised_choice_the_router_gradient_is_rounding_noise() -> None:
    for block in (hf_block(topk=1), Qwen3MoeGroupedGEMMBlock.from_hf(hf_block(topk=1))):
        _, backward = both_passes(block, values(1, 4, H))
        assert backward.gate_grad.abs().max() < 1e-5 < backward.X_grad.abs().max()


@pytest.mark.parametrize("fused", [False, True])
def test_an_expert_without_tokens_has_zero_gradients(fused: bool) -> None:
    hf = hf_block(topk=1, norm=False)
    for block in (hf, (Qwen3MoeFusedGroupedGEMMBlock if fused else Qwen3MoeGroupedGEMMBlock).from_hf(hf)):
        forward, backward = both_passes(block, values(1, 1, H))
        busy = int(forward.router_logits.argmax())
        for grad in (backward.gate_proj_grad, backward.up_proj_grad, backward.down_proj_grad):
            assert grad.flatten(1).any(1).tolist() == [e == busy for e in range(E)]


@pytest.mark.parametrize(("permute_x", "permute_y"), PERMUTATIONS)
def test_bfloat16_runs_and_lies_near_hf(permute_x: bool, permute_y: bool) -> None:
    block = hf_block(dtype=torch.bfloat16)
    fused = Qwen3MoeFusedGroupedGEMMBlock.from_hf(block, permute_x=permute_x, permute_y=permute_y)
    assert_same_run(fused, block, values(1, 4, H).bfloat16(), rtol=0.05)


def test_in_float64_the_twin_is_float64_throughout() -> None:
    block = hf_block(dtype=torch.float64)
    twin, X = Qwen3MoeGroupedGEMMBlock.from_hf(block), values(1, 3, H).double()
    weights = run_forward(twin, X).router_logits.softmax(-1).topk(2).values
    assert torch.equal(intermediates(twin, X).topk_weights, weights / weights.sum(-1, keepdim=True))


@pytest.mark.parametrize("shape", [(1, 0, H), (0, 3, H)])
def test_without_tokens_every_gradient_is_zero(shape: tuple[int, ...]) -> None:
    hf = hf_block()
    fused = [Qwen3MoeFusedGroupedGEMMBlock.from_hf(hf, permute_x=x, permute_y=y) for x, y in PERMUTATIONS]
    for block in (hf, Qwen3MoeGroupedGEMMBlock.from_hf(hf), *fused):
        forward, backward = both_passes(block, values(*shape))
        assert forward.output.shape == backward.X_grad.shape == shape and forward.router_logits.shape == (0, E)
        assert backward.gate_proj_grad.shape == backward.up_proj_grad.shape == backward.down_proj_grad.mT.shape == (E, INTERMEDIATE, H)
        assert not any(getattr(backward, name).any() for name in PASSES)


def test_a_second_backward_pass_neither_adds_to_the_first_nor_changes_it() -> None:
    block = hf_block()
    first = both_passes(block, values(1, 3, H))[1]
    before = {name: getattr(first, name).clone() for name in PASSES}
    both_passes(block, values(1, 3, H, seed=5))
    assert all(torch.equal(getattr(first, name), grad) for name, grad in before.items())
    again = both_passes(block, values(1, 3, H))[1]
    assert all(torch.equal(getattr(again, name), grad) for name, grad in before.items())


@pytest.mark.parametrize("twin", [False, True])
def test_a_missing_gradient_is_an_error_that_names_the_tensor(twin: bool) -> None:
    block = Qwen3MoeGroupedGEMMBlock.from_hf(hf_block()) if twin else hf_block()
    for name, parameter in block.named_parameters():
        parameter.requires_grad_("down_proj" not in name)
    with pytest.raises(RuntimeError, match=r"no gradient for \S*down_proj\S*$"):
        both_passes(block, values(1, 3, H))


def test_a_detached_input_is_an_error_that_names_x() -> None:
    class Detached(Qwen3MoeGroupedGEMMBlock):
        def run(self, hidden_states: torch.Tensor) -> Any:
            return super().run(hidden_states.detach())

    with pytest.raises(RuntimeError, match=r"no gradient for X$"):
        both_passes(Detached.from_hf(hf_block()), values(1, 3, H))


def test_writing_into_the_shared_buffers_changes_what_hf_computes() -> None:
    block, X = hf_block(), values(1, 3, H)
    before = run_forward(block, X).output
    gate_up_proj, down_proj = qwen3_hf.rebind_experts_to_shared_buffer(block)
    assert torch.equal(run_forward(block, X).output, before)
    down_proj.mul_(2)
    assert torch.equal(run_forward(block, X).output, before * 2)
    gate_up_proj[:, INTERMEDIATE:].zero_()
    assert not run_forward(block, X).output.any()


def test_clone_experts_returns_copies_of_the_weights_that_were_set() -> None:
    block, gate_up_proj = hf_block(), values(E, 2 * INTERMEDIATE, H, seed=2) / 4
    gate, up, down = qwen3_hf.clone_experts(block)
    assert torch.equal(torch.cat((gate, up), dim=1), gate_up_proj) and torch.equal(down, values(E, H, INTERMEDIATE, seed=3) / 3)
    for copy in (gate, up, down):
        copy.zero_()
    assert all(weight.any() for weight in qwen3_hf.clone_experts(block))


def test_set_weights_refuses_a_shape_that_would_broadcast() -> None:
    with pytest.raises(ValueError, match=r"gate_weight must have shape \(4, 16\), got \(1, 16\)"):
        qwen3_hf.set_weights(hf_block(), values(1, H), values(E, 2 * INTERMEDIATE, H), values(E, H, INTERMEDIATE))


def test_check_weights_accepts_a_fresh_copy_and_nan() -> None:
    block = hf_block()
    gate, gate_up_proj, down_proj = values(E, H), values(E, 2 * INTERMEDIATE, H), values(E, H, INTERMEDIATE)
    down_proj[1, 2, 3] = float("nan")
    qwen3_hf.set_weights(block, gate, gate_up_proj, down_proj)
    Qwen3MoeGroupedGEMMBlock.from_hf(block).check_weights(block)


@pytest.mark.parametrize(("name", "index"), [("gate", (1, 2)), ("gate_up_proj", (2, INTERMEDIATE + 1, 3)), ("down_proj", (3, 0, 5))])
def test_check_weights_names_the_parameter_and_the_first_index(name: str, index: tuple[int, ...]) -> None:
    block = hf_block()
    ours = Qwen3MoeFusedGroupedGEMMBlock.from_hf(block)
    ours.get_parameter(name).data[index] += 1
    ours.get_parameter(name).data[-1, -1] += 1
    with pytest.raises(ValueError, match="^" + re.escape(f"{name} differs at {list(index)}: ")):
        ours.check_weights(block)


def test_the_weights_are_private_copies() -> None:
    gate, gate_up_proj, down_proj = values(E, H), values(E, 2 * INTERMEDIATE, H), values(E, H, INTERMEDIATE)
    for parameter in Qwen3MoeGroupedGEMMBlock(gate, gate_up_proj, down_proj, num_experts_per_tok=2).parameters():
        parameter.data.zero_()
    assert all(weight.any() for weight in (gate, gate_up_proj, down_proj))


def test_weights_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match=r"gate_up_proj must have shape \(4, 16, 16\) beside down_proj \(4, 16, 8\), got \(4, 8, 16\)"):
        Qwen3MoeGroupedGEMMBlock(values(E, H), values(E, INTERMEDIATE, H), values(E, H, INTERMEDIATE), 2)


@pytest.mark.parametrize(("permute_x", "permute_y"), PERMUTATIONS)
def test_intermediates_agree_with_the_twin_and_only_permute_y_reorders_one(permute_x: bool, permute_y: bool) -> None:
    block, X = hf_block(), values(1, 5, H)
    fused = intermediates(Qwen3MoeFusedGroupedGEMMBlock.from_hf(block, permute_x=permute_x, permute_y=permute_y), X)
    twin = intermediates(Qwen3MoeGroupedGEMMBlock.from_hf(block), X)
    expected = {field.name: getattr(twin, field.name) for field in dataclasses.fields(twin)}
    if permute_y:
        expected["second_gemm"] = expected["hidden_states_unpermute"]
        assert fused.second_gemm is fused.hidden_states_unpermute
    for name, tensor in expected.items():
        assert_close(name, getattr(fused, name), tensor, rtol=1e-5)


def test_the_weighted_sum_of_the_unpermuted_rows_is_the_output() -> None:
    result = intermediates(Qwen3MoeFusedGroupedGEMMBlock.from_hf(hf_block(), permute_y=True), values(1, 5, H))
    by_hand = sum((result.hidden_states_unpermute[j::2] * result.topk_weights[:, j, None] for j in range(2)), torch.zeros(()).to(DEVICE))
    assert_close("hidden_states", result.hidden_states, by_hand, rtol=1e-6)


@pytest.mark.parametrize("T", [0, 1, 7])
@pytest.mark.parametrize("topk", [1, 2, E])
def test_sorting_is_a_stable_permutation_with_its_counts(T: int, topk: int) -> None:
    ids = values(T, E).argsort(dim=1)[:, :topk]
    counts, gather_indices = sort_by_expert(ids, E)
    assert counts.tolist() == [int((ids == e).sum()) for e in range(E)]
    expected = sorted(range(T * topk), key=ids.flatten().tolist().__getitem__)
    assert gather_indices.tolist() == expected and (counts.dtype, gather_indices.dtype) == (torch.int32, torch.int32)


def test_routing_reads_nothing_back() -> None:
    weights, ids = route(torch.empty(8, E, device="meta", dtype=torch.bfloat16), 2, True)
    counts, gather_indices = sort_by_expert(ids, E)
    assert (weights.dtype, ids.dtype, counts.shape, gather_indices.shape) == (torch.bfloat16, torch.int64, (E,), (16,))


@pytest.mark.parametrize("topk", [0, E + 1])
def test_routing_refuses_more_or_fewer_choices_than_experts(topk: int) -> None:
    with pytest.raises(ValueError, match=f"topk must lie in .* got {topk}"):
        route(values(3, E), topk, True)
