"""One forward and one backward pass of an MoE block, Hugging Face's or moefuzz's, with results under the same names.

Shapes: X, output and dY [B, S, H]; expert gradients per projection, [E, I, H] for gate and up, [E, H, I] for down.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

from moefuzz.kernels import qwen3_hf
from moefuzz.kernels.qwen3_moe import GroupedGEMMBlock, GroupedGEMMResult

Block: TypeAlias = Qwen3MoeSparseMoeBlock | GroupedGEMMBlock | nn.Module


@dataclass(frozen=True)
class ForwardResult:
    """The results of a forward pass, attached to its graph until ``run_backward`` consumes it."""

    output: torch.Tensor  # [B, S, H]
    router_logits: torch.Tensor  # [T, E]; of shape [0] if the block did not call its gate
    X: torch.Tensor  # [B, S, H], the leaf that the output was computed from
    grouped_gemm_result: GroupedGEMMResult | None  # None for Hugging Face's block


@dataclass(frozen=True)
class BackwardResult:
    """The gradients of sum(output * dY)."""

    X_grad: torch.Tensor  # [B, S, H]
    gate_grad: torch.Tensor  # [E, H]
    gate_proj_grad: torch.Tensor  # [E, I, H]
    up_proj_grad: torch.Tensor  # [E, I, H]
    down_proj_grad: torch.Tensor  # [E, H, I]


def run_forward(block: Block, X: torch.Tensor, gate: nn.Module | None = None) -> ForwardResult:
    """Run the block on a copy of X [B, S, H] that requires grad and belongs to no other graph; return its results.

    ``gate`` is the module that computes the router logits, by default the block's own.
    """
    leaf = X.detach().clone().requires_grad_()
    if isinstance(block, GroupedGEMMBlock):
        output, router_logits, result = block.run(leaf)
        return ForwardResult(output, router_logits, leaf, result)
    output, router_logits = qwen3_hf.forward_with_router_logits(block, gate or block.gate, leaf)  # type: ignore[arg-type]
    return ForwardResult(output, router_logits, leaf, None)


def run_backward(
    block: Block, forward_result: ForwardResult, dY: torch.Tensor, *, times: int = 1, frozen_experts: bool = False
) -> BackwardResult:
    """Backpropagate dY [B, S, H] and return all gradients; earlier ones of the block and of X are dropped, not added to.

    Several ``times`` on one graph add up. An expert without tokens has zero gradients; without any token every gradient is zero. Raises
    RuntimeError with the name of a tensor that tokens used and that got no gradient (it was detached or frozen on the way). With
    ``frozen_experts`` the experts need no gradients.
    """
    block.zero_grad(set_to_none=True)
    forward_result.X.grad = None
    has_tokens = forward_result.X.numel() > 0
    for further in reversed(range(times if forward_result.output.requires_grad else 0)):
        forward_result.output.backward(dY, retain_graph=further > 0)
    missing = _without_grad(block, forward_result.X)
    if frozen_experts:
        missing = [name for name in missing if name in ("X", "gate", "gate.weight")]
    if has_tokens and missing:
        raise RuntimeError(f"the backward pass left no gradient for {', '.join(missing)}")
    X_grad = qwen3_hf.grad_or_zeros(forward_result.X)
    if isinstance(block, GroupedGEMMBlock):
        gate_grad, gate_up_grad, down_grad = map(qwen3_hf.grad_or_zeros, (block.gate, block.gate_up_proj, block.down_proj))
        gate_proj_grad, up_proj_grad = gate_up_grad.chunk(2, dim=1)
        return BackwardResult(X_grad, gate_grad, gate_proj_grad, up_proj_grad, down_grad)
    return BackwardResult(X_grad, qwen3_hf.gate_grad(block), *qwen3_hf.expert_grads(block))


def _without_grad(block: nn.Module, X: torch.Tensor) -> list[str]:
    """Return the names of tensors without a gradient; where each expert has parameters of its own, those of all count as one tensor."""
    has_grad = {"X": X.grad is not None}
    for name, parameter in block.named_parameters():
        tensor = re.sub(r"\.\d+\.", ".*.", name)
        has_grad[tensor] = has_grad.get(tensor, False) or parameter.grad is not None
    return [tensor for tensor, present in has_grad.items() if not present]
