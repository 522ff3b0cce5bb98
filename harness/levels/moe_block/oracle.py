"""The verdict at the ``moe_block`` level: run a target on a problem and hold every tensor that it shows to its carried bound.

What is always seen: output, router logits (through the block's own gate) and all five gradients. Our own blocks show every intermediate
too; those are held stage by stage, and what comes after the router is held to the weights that the router really gave.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from moefuzz.harness.execution.guarded_call import call_in_fences
from moefuzz.harness.execution.memory import same_bits
from moefuzz.harness.failures import INPUT_MODIFIED, WrongRouting
from moefuzz.harness.numerics.claims import Claim
from moefuzz.harness.targets import CONFIGS, Target
from moefuzz.kernels.kernel_config import KernelConfig
from moefuzz.kernels.qwen3_hf import qwen3_block, qwen3_config, set_weights
from moefuzz.kernels.qwen3_moe import GroupedGEMMBlock, GroupedGEMMResult

from .block_passes import BackwardResult, ForwardResult, run_backward, run_forward
from .bounds import BlockBounds, block_bounds
from .problem import MoeBlockProblem

AXES = {
    "router_logits": ("token", "expert"),
    "topk_weights": ("token", "choice"),
    "first_gemm": ("row", "column"),
    "intermediate": ("row", "column"),
    "second_gemm": ("row", "column"),
    "hidden_states_unpermute": ("slot", "column"),
    "output": ("token", "column"),
    "X_grad": ("token", "column"),
    "gate_grad": ("expert", "column"),
    "gate_proj_grad": ("expert", "row", "column"),
    "up_proj_grad": ("expert", "row", "column"),
    "down_proj_grad": ("expert", "row", "column"),
}
SORTED_BY_EXPERT = ("first_gemm", "intermediate", "second_gemm")


@dataclass(frozen=True)
class BlockResult:
    """Forward and backward results of one block."""

    forward: ForwardResult
    backward: BackwardResult


def hf_block(problem: MoeBlockProblem, device: torch.device) -> Any:
    """Hugging Face's block with the problem's weights, its experts pinned to the eager loop."""
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
    """Give the target a private copy of Hugging Face's block and run what it returns, forward and backward, its allocations poisoned.

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

    result = call_in_fences(run, case, target, device, poison=poison)
    for name, after in (("X", result.forward.X), ("dY", dY)):
        if not same_bits(after.detach().squeeze(batch).cpu(), getattr(problem, name)):
            raise INPUT_MODIFIED[name](case, target.name, f"changed its input {name}")
    return result


def _module(returned: object) -> nn.Module:
    if isinstance(returned, nn.Module):
        return returned
    raise TypeError(f"a moe_block target returns a torch.nn.Module, got {type(returned).__name__}")


def bounds_of(problem: MoeBlockProblem, topk_weights: torch.Tensor | None = None, topk_ids: torch.Tensor | None = None) -> BlockBounds:
    """The carried bounds of a problem; with ``topk_weights`` what comes after the router is held to these."""
    case = problem.case
    bounds = block_bounds(
        problem.X, problem.gate, problem.gate_up_proj, problem.down_proj, problem.dY,
        topk=case.topk, norm_topk_prob=case.norm_topk_prob, act=case.act, dtype=getattr(torch, case.dtype),
        topk_ids=topk_ids, topk_weights=topk_weights,
    )  # fmt: skip
    assert bool((bounds.router_gap > 0).all()), f"{case!r} does not decide its routing: a gap of {float(bounds.router_gap.min())}"
    return bounds


def moe_block_tensors(problem: MoeBlockProblem, result: BlockResult) -> dict[str, torch.Tensor]:
    """Every tensor that a block showed, in the order of computation, under the names and in the shapes of its bounds."""
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


def moe_block_claims(problem: MoeBlockProblem, result: BlockResult, target: Target) -> list[Claim]:
    """What must hold for each tensor that was shown, in the order of computation. Raises WrongRouting."""
    shown = result.forward.grouped_gemm_result
    if shown is None:
        bounds = bounds_of(problem)
    else:
        bounds = bounds_of(problem, shown.topk_weights.detach().cpu(), topk_ids_of(problem, shown, target.name))
    tiles = target.tiles(problem.case)
    return [_claim(problem, name, got, bounds, tiles) for name, got in moe_block_tensors(problem, result).items()]


def _claim(problem: MoeBlockProblem, name: str, got: torch.Tensor, bounds: BlockBounds, tiles: KernelConfig | None) -> Claim:
    case = problem.case
    carried, sorted_rows = bounds.carried()[name], name in SORTED_BY_EXPERT
    shape = tuple(carried.value.shape)
    blocks: tuple[int | None, ...] = (tiles.block_m if sorted_rows and tiles else None, *(None,) * (len(shape) - 1))
    return Claim(name, AXES[name], got, shape, carried.value, carried.error, blocks, case.loads if sorted_rows else None)


def topk_ids_of(problem: MoeBlockProblem, shown: GroupedGEMMResult, target: str) -> torch.Tensor:
    """[T, topk] expert of each slot, read off the sorted order; held against the case's decision. Raises WrongRouting.

    Logits of chosen experts may tie, and then their order within a token is the implementation's own.
    """
    case = problem.case
    gather_indices, counts = shown.gather_indices.cpu(), shown.token_counts_by_expert.cpu()
    ids = torch.empty(case.T * case.topk, dtype=torch.int64)
    ids[gather_indices.long()] = torch.repeat_interleave(torch.arange(case.E), counts.long())
    ids = ids.reshape(case.T, case.topk)
    chosen = torch.zeros(case.T, case.E, dtype=torch.bool).scatter_(1, ids, True)
    wrong = (chosen != problem.chosen).any(1).nonzero()
    if len(wrong):
        t = int(wrong[0])
        wanted = problem.chosen[t].nonzero().flatten().tolist()
        raise WrongRouting(case, target, f"token {t} went to experts {sorted(ids[t].tolist())}, its logits choose {wanted}")
    return ids
