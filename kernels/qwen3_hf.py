"""Read and write Hugging Face's Qwen3 MoE block in the same way for all supported versions of transformers.

Only this file depends on the differences between versions:

    transformers 5.x   experts.gate_up_proj [E, 2I, H] and experts.down_proj [E, H, I], parameters; a block returns hidden states
    transformers 4.57  experts[e].{gate,up}_proj.weight [I, H] and experts[e].down_proj.weight [H, I]; a block returns (hidden, logits)

Common to both: gate.weight [E, H]; of the 2I rows of gate_up_proj, [0, I) are the gate's and [I, 2I) the up projection's.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

import torch
from torch import nn
from transformers.models.qwen3_moe.configuration_qwen3_moe import Qwen3MoeConfig
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock


def qwen3_config(
    num_experts: int,
    num_experts_per_tok: int,
    hidden_size: int,
    moe_intermediate_size: int,
    norm_topk_prob: bool = True,
    hidden_act: str = "silu",
) -> Qwen3MoeConfig:
    """Return a new configuration with eager experts: results are compared with the plain loop over experts."""
    made = _qwen3_config(num_experts, num_experts_per_tok, hidden_size, moe_intermediate_size, norm_topk_prob, hidden_act)
    return copy.deepcopy(made)  # 15 times as fast as a new one, for which transformers validates every field


@functools.lru_cache(maxsize=1024)
def _qwen3_config(
    num_experts: int, num_experts_per_tok: int, hidden_size: int, moe_intermediate_size: int, norm_topk_prob: bool, hidden_act: str
) -> Qwen3MoeConfig:
    config = Qwen3MoeConfig(
        num_experts=num_experts,
        num_experts_per_tok=num_experts_per_tok,
        hidden_size=hidden_size,
        moe_intermediate_size=moe_intermediate_size,
        norm_topk_prob=norm_topk_prob,
        hidden_act=hidden_act,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
    )
    config._experts_implementation = "eager"  # unused in 4.57, which has only the loop
    return config


def qwen3_block(config: Qwen3MoeConfig, dtype: torch.dtype, device: torch.device | str) -> Qwen3MoeSparseMoeBlock:
    """Return a block with zero weights in ``dtype`` on ``device``, allocated only once."""
    with torch.device("meta"):
        block = Qwen3MoeSparseMoeBlock(config).to(dtype)
    block.to_empty(device=device)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
    return block


def config_of(block: Qwen3MoeSparseMoeBlock) -> Qwen3MoeConfig:
    """Return the configuration that the block was made from."""
    experts: Any = block.experts
    config: Qwen3MoeConfig = experts[0].config if _is_list(block) else experts.config
    return config


def set_weights(
    block: Qwen3MoeSparseMoeBlock,
    gate_weight: torch.Tensor,  # [E, H]
    gate_up_proj: torch.Tensor,  # [E, 2I, H]
    down_proj: torch.Tensor,  # [E, H, I]
) -> None:
    """Copy values into the block's own parameters, converted to their dtype and device.

    Raises ValueError for a shape that is not the block's (a plain copy would broadcast it).
    """
    config = config_of(block)
    E, H, intermediate = config.num_experts, config.hidden_size, config.moe_intermediate_size
    shapes = {"gate_weight": (E, H), "gate_up_proj": (E, 2 * intermediate, H), "down_proj": (E, H, intermediate)}
    for (name, shape), values in zip(shapes.items(), (gate_weight, gate_up_proj, down_proj), strict=True):
        if tuple(values.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(values.shape)}")
    experts: Any = block.experts
    with torch.no_grad():
        block.gate.weight.copy_(gate_weight)
        if not _is_list(block):
            experts.gate_up_proj.copy_(gate_up_proj)
            experts.down_proj.copy_(down_proj)
            return
        for e, expert in enumerate(experts):
            expert.gate_proj.weight.copy_(gate_up_proj[e, :intermediate])
            expert.up_proj.weight.copy_(gate_up_proj[e, intermediate:])
            expert.down_proj.weight.copy_(down_proj[e])


def clone_experts(block: Qwen3MoeSparseMoeBlock) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return detached copies of (gate_proj [E, I, H], up_proj [E, I, H], down_proj [E, H, I])."""
    experts: Any = block.experts
    if _is_list(block):
        gate, up, down = (torch.stack([weight.detach() for weight in weights]) for weights in _weight_lists(block))
        return gate, up, down
    gate, up = experts.gate_up_proj.detach().chunk(2, dim=1)
    return gate.clone(), up.clone(), experts.down_proj.detach().clone()


def rebind_experts_to_shared_buffer(block: Qwen3MoeSparseMoeBlock) -> tuple[torch.Tensor, torch.Tensor]:
    """Make the experts' parameters views of two buffers, values kept, and return (gate_up_proj [E, 2I, H], down_proj [E, H, I]).

    From then on, writing into a buffer changes what the block computes. In 5.x the parameters are such buffers already.
    """
    experts: Any = block.experts
    if not _is_list(block):
        return experts.gate_up_proj.data, experts.down_proj.data
    gate, up, down = clone_experts(block)
    gate_up = torch.cat((gate, up), dim=1)
    rows = gate.shape[1]
    for e, expert in enumerate(experts):
        expert.gate_proj.weight.data = gate_up[e, :rows]
        expert.up_proj.weight.data = gate_up[e, rows:]
        expert.down_proj.weight.data = down[e]
    return gate_up, down


def expert_grads(block: Qwen3MoeSparseMoeBlock) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (gate_proj.grad [E, I, H], up_proj.grad [E, I, H], down_proj.grad [E, H, I]), zeros for a parameter without one."""
    experts: Any = block.experts
    if _is_list(block):
        gate, up, down = (torch.stack([grad_or_zeros(weight) for weight in weights]) for weights in _weight_lists(block))
        return gate, up, down
    gate, up = grad_or_zeros(experts.gate_up_proj).chunk(2, dim=1)
    return gate, up, grad_or_zeros(experts.down_proj)


def gate_grad(block: Qwen3MoeSparseMoeBlock) -> torch.Tensor:
    """Return gate.weight.grad [E, H], or zeros if there is none."""
    return grad_or_zeros(block.gate.weight)


def grad_or_zeros(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor's own .grad, or zeros of its shape and dtype."""
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def hidden_states_of(output: torch.Tensor | tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Return the hidden states from the output of a block, which is a pair in 4.57."""
    return output[0] if isinstance(output, tuple) else output


def forward_with_router_logits(block: nn.Module, gate: nn.Module, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the block on hidden_states [B, S, H] and return (hidden states [B, S, H], router_logits [T, E]).

    The logits are the output of ``gate`` in this call; empty, of shape [0], if the block did not call it.
    """
    captured: list[torch.Tensor] = []

    def capture(_gate: nn.Module, _inputs: Any, output: Any) -> None:
        captured.append(output[0] if isinstance(output, tuple) else output)  # 5.x: (logits, scores, indices)

    hook = gate.register_forward_hook(capture)
    try:
        output = hidden_states_of(block(hidden_states))
    finally:
        hook.remove()
    return output, captured[-1] if captured else output.new_empty(0)


def _is_list(block: Qwen3MoeSparseMoeBlock) -> bool:
    """Return whether each expert is a module (4.57) rather than part of two fused parameters (5.x)."""
    return isinstance(block.experts, nn.ModuleList)


def _weight_lists(block: Qwen3MoeSparseMoeBlock) -> tuple[list[nn.Parameter], ...]:
    experts: Any = block.experts
    return tuple([getattr(expert, name).weight for expert in experts] for name in ("gate_proj", "up_proj", "down_proj"))
