"""The experts of an MoE block on the Triton grouped GEMM, also as an experts implementation of transformers 5, selected by name.

    from moefuzz.kernels.experts import register
    register()
    model = AutoModelForCausalLM.from_pretrained(..., experts_implementation="moefuzz_triton")

Hidden states h [T, H], slots g = t * topk + j with expert top_k_index[t, j]:  out[t] = sum_j w[t, j] * (gate(h[t] gate_up^T) down^T)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .grouped_gemm import grouped_gemm_of_rows
from .moe_details.combine_rows import weighted_sum
from .moe_details.gated_activation import act_name, gated_activation
from .sorted_rows import SortedRows

NAME = "moefuzz_triton"

Act = Callable[[torch.Tensor], torch.Tensor]
ACTS: dict[str, Act] = {"silu": torch.nn.functional.silu, "relu": torch.relu}


def triton_experts(
    hidden_states: torch.Tensor,  # [T, H]
    top_k_index: torch.Tensor,  # [T, topk] int64
    top_k_weights: torch.Tensor,  # [T, topk]
    gate_up_proj: torch.Tensor,  # [E, 2I, H]: gate rows [0, I), then up rows
    down_proj: torch.Tensor,  # [E, H, I]
    act: Act,
) -> torch.Tensor:
    """Return [T, H] in the dtype of the hidden states, differentiable in all four floating inputs. No value is read on the host."""
    return _experts(hidden_states, top_k_index, top_k_weights, gate_up_proj, down_proj, lambda first: fused_gated(first, act))


def torch_experts(
    hidden_states: torch.Tensor,
    top_k_index: torch.Tensor,
    top_k_weights: torch.Tensor,
    gate_up_proj: torch.Tensor,
    down_proj: torch.Tensor,
    act: Act,
) -> torch.Tensor:
    """Compute what ``triton_experts`` does in plain torch: a loop over experts, each row in float32 and rounded at the end."""
    wide = torch.promote_types(hidden_states.dtype, torch.float32)
    h, weights, first, second = (t.to(wide) for t in (hidden_states, top_k_weights, gate_up_proj, down_proj))
    out = torch.zeros_like(h, memory_format=torch.contiguous_format)
    for e in range(len(second)):
        tokens, choices = (top_k_index == e).nonzero(as_tuple=True)
        rows = gated(h[tokens] @ first[e].T, act) @ second[e].T
        out = out.index_add(0, tokens, rows * weights[tokens, choices][:, None])
    return out.to(hidden_states.dtype)


def gated(first: torch.Tensor, act: Act) -> torch.Tensor:
    """Return act(gate half) * up half: [M, 2I] -> [M, I]."""
    gate, up = first.chunk(2, dim=1)
    return act(gate) * up


def fused_gated(first: torch.Tensor, act: Act) -> torch.Tensor:
    """Return what ``gated`` does, computed in one kernel if there is one for the activation."""
    name = act_name(act)
    return gated(first, act) if name is None else gated_activation(first, name)


def _experts(
    hidden_states: torch.Tensor,
    top_k_index: torch.Tensor,
    top_k_weights: torch.Tensor,
    gate_up_proj: torch.Tensor,
    down_proj: torch.Tensor,
    gate: Act,
) -> torch.Tensor:
    topk = top_k_index.shape[1]
    rows = SortedRows.by_expert(top_k_index, down_proj.shape[0])
    first = grouped_gemm_of_rows(hidden_states, gate_up_proj, rows, topk, permute_x=True)
    second = grouped_gemm_of_rows(gate(first), down_proj, rows, topk, is_first_gemm=False)
    return weighted_sum(second, top_k_weights, rows.row_of_slot)


def _implementation(
    self: Any,  # an experts module of transformers
    hidden_states: torch.Tensor,
    top_k_index: torch.Tensor,
    top_k_weights: torch.Tensor,
) -> torch.Tensor:
    """Compute an experts module for transformers. Raises ValueError for experts with biases, without a gate, or with transposed weights."""
    if self.has_bias or not self.has_gate or self.is_transposed:
        raise ValueError(f"{NAME} takes gated experts without biases, their weights [E, out, in]")
    gate = (lambda first: fused_gated(first, self.act_fn)) if _gates_as_transformers_does(self) else self._apply_gate
    return _experts(hidden_states, top_k_index, top_k_weights, self.gate_up_proj, self.down_proj, gate)


def _gates_as_transformers_does(module: Any) -> bool:
    """Return whether an experts module computes act_fn(gate half) * up half, the default of transformers; a model may have its own."""
    from transformers.integrations import moe

    default = getattr(moe, "_default_apply_gate", None)
    return default is not None and getattr(module._apply_gate, "__func__", None) is default


def register() -> None:
    """Register the experts implementation with transformers as NAME. Raises ImportError before transformers 5."""
    try:
        from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
    except ImportError as error:
        raise ImportError("experts implementations need transformers 5") from error
    ALL_EXPERTS_FUNCTIONS.register(NAME, _implementation)
