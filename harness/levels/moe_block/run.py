"""Run a target of the ``moe_block`` level on a problem, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from moefuzz.harness.execution.guarded_call import guarded_call
from moefuzz.harness.execution.memory import same_bits
from moefuzz.harness.failures import INPUT_MODIFIED
from moefuzz.harness.targets import CONFIGS, Target
from moefuzz.kernels.qwen3_hf import qwen3_block, qwen3_config, set_weights
from moefuzz.kernels.qwen3_moe import GroupedGEMMBlock

from .block_passes import BackwardResult, ForwardResult, run_backward, run_forward
from .problem import MoeBlockProblem


@dataclass(frozen=True)
class BlockResult:
    """Forward and backward results of one block."""

    forward: ForwardResult
    backward: BackwardResult


def hf_block(problem: MoeBlockProblem, device: torch.device) -> Any:
    """Return Hugging Face's block with the problem's weights, its experts pinned to the eager loop."""
    case = problem.case
    config = qwen3_config(
        case.E, case.topk, case.hidden_size, case.moe_intermediate_size, norm_topk_prob=case.norm_topk_prob, hidden_act=case.act
    )
    block = qwen3_block(config, getattr(torch, case.dtype), device)
    set_weights(block, problem.gate, problem.gate_up_proj, problem.down_proj)
    return block


def run_moe_block(
    problem: MoeBlockProblem,
    target: Target,
    device: torch.device,
    *,
    poison: str = "nan",
    backwards: int = 1,
    frozen_experts: bool = False,
    sequences: bool = False,
) -> BlockResult:
    """Pass the target a private copy of Hugging Face's block, run the module that it returns, and return the results of both passes.

    - The allocations of the run are poisoned.
    - ``backwards`` passes run on one graph and add to one gradient.
    - ``sequences``: hidden states [T, 1, H], a sequence for each token, instead of one of all tokens, [1, T, H].

    Raises the failures Raised, InputModified, WroteOutside and ReadOutside.
    """
    __tracebackhide__ = True
    case = problem.case
    private = hf_block(problem, device)  # made for this call alone
    private.experts.requires_grad_(not frozen_experts)
    batch = 1 if sequences else 0
    dY = problem.dY.unsqueeze(batch).to(device, copy=True)
    keywords: dict[str, Any] = {}
    if {"permute_x", "permute_y"} <= target.keywords:
        keywords |= {"permute_x": case.permute_x, "permute_y": case.permute_y}
    if target.configurable:
        keywords |= dict.fromkeys(CONFIGS, case.config)

    def run() -> BlockResult:
        module = _module(target.function(private, **keywords))
        forward = run_forward(module, problem.X.unsqueeze(batch).to(device), private.gate)
        owner = module if isinstance(module, GroupedGEMMBlock) else private
        return BlockResult(forward, run_backward(owner, forward, dY, times=backwards, frozen_experts=frozen_experts))

    result = guarded_call(run, case, target, device, poison=poison)
    for name, after in (("X", result.forward.X), ("dY", dY)):
        if not same_bits(after.detach().squeeze(batch).cpu(), getattr(problem, name)):
            raise INPUT_MODIFIED[name](case, target.name, f"changed its input {name}")
    return result


def _module(returned: object) -> nn.Module:
    if isinstance(returned, nn.Module):
        return returned
    raise TypeError(f"a moe_block target returns a torch.nn.Module, got {type(returned).__name__}")


def moe_block_tensors(problem: MoeBlockProblem, result: BlockResult) -> dict[str, torch.Tensor]:
    """Return every tensor that a block exposed, in the order of computation, with the names and shapes of its bounds."""
    case, shown = problem.case, result.forward.grouped_gemm_result
    logits = result.forward.router_logits
    tensors: dict[str, torch.Tensor] = {"router_logits": logits} if logits.shape != (0,) else {}
    if shown is not None:
        names = ["topk_weights", "first_gemm", "intermediate", "second_gemm", "hidden_states_unpermute"]
        if shown.second_gemm is shown.hidden_states_unpermute:  # permute_y: the second GEMM stored them so
            names.remove("second_gemm")
        tensors |= {name: getattr(shown, name) for name in names}
    tensors |= {"output": result.forward.output.reshape(case.T, case.hidden_size)}
    tensors |= {field.name: getattr(result.backward, field.name) for field in fields(result.backward)}
    return tensors | {"X_grad": tensors["X_grad"].reshape(case.T, case.hidden_size)}
