"""The Triton grouped GEMM as an experts implementation of transformers 5, which a model selects by name.

    from moefuzz.kernels.experts import register
    register()
    model = AutoModelForCausalLM.from_pretrained(..., experts_implementation="moefuzz_triton")

Hidden states h [T, H], slots g = t * topk + j with expert top_k_index[t, j]:  out[t] = sum_j w[t, j] * (gate(h[t] gate_up^T) down^T)
"""

from __future__ import annotations

from typing import Any

import torch

from .grouped_gemm import grouped_gemm
from .routing import sort_by_expert

NAME = "moefuzz_triton"


def triton_experts(
    self: Any,  # an experts module of transformers: gate_up_proj [E, 2I, H], down_proj [E, H, I]
    hidden_states: torch.Tensor,  # [T, H]
    top_k_index: torch.Tensor,  # [T, topk] int64
    top_k_weights: torch.Tensor,  # [T, topk]
) -> torch.Tensor:
    """[T, H] in the dtype of the hidden states. Raises ValueError for experts with biases, without a gate, or with transposed weights."""
    if self.has_bias or not self.has_gate or self.is_transposed:
        raise ValueError(f"{NAME} takes gated experts without biases, their weights [E, out, in]")
    T, topk = top_k_index.shape
    m_sizes, slots = sort_by_expert(top_k_index, len(self.down_proj))
    first = grouped_gemm(hidden_states, self.gate_up_proj, m_sizes, topk, slots, permute_x=True)
    second = grouped_gemm(self._apply_gate(first), self.down_proj, m_sizes, topk, slots, permute_y=True, is_first_gemm=False)
    weighted = second.view(T, topk, second.shape[1]) * top_k_weights[:, :, None]
    return weighted.sum(1).to(hidden_states.dtype)


def register() -> None:
    """Make it known to transformers under NAME. Raises ImportError before transformers 5."""
    try:
        from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
    except ImportError as error:
        raise ImportError("experts implementations need transformers 5") from error
    ALL_EXPERTS_FUNCTIONS.register(NAME, triton_experts)
