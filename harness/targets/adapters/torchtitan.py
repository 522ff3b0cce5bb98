"""torchtitan's routed experts on one device: LocalTokenDispatcher and GroupedExperts, with SiLU alone.

They compute in bfloat16 whatever the dtype of their inputs, so this adapter refuses other dtypes. They call ``torch._grouped_mm``: weights
must be contiguous, and rows of H and I elements multiples of 16 bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from moefuzz.harness.targets import Target

MODULE = "torchtitan.models.common.moe"


def routed_experts(
    hidden_states: torch.Tensor,
    top_k_index: torch.Tensor,
    top_k_weights: torch.Tensor,
    gate_up_proj: torch.Tensor,
    down_proj: torch.Tensor,
    act: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Dispatch, compute and combine as torchtitan's RoutedExperts does; the weights are w1 (gate), w3 (up) and w2 (down)."""
    from torchtitan.models.common.moe import GroupedExperts
    from torchtitan.models.common.token_dispatcher import LocalTokenDispatcher

    if hidden_states.dtype is not torch.bfloat16:
        raise TypeError(f"torchtitan's GroupedExperts compute in bfloat16, got {hidden_states.dtype}")
    if act is not torch.nn.functional.silu:
        raise ValueError("torchtitan's GroupedExperts know SiLU alone")
    E, H, width = down_proj.shape
    with torch.device("meta"):
        experts = GroupedExperts(GroupedExperts.Config(dim=H, hidden_dim=width, num_experts=E))
    dispatcher = LocalTokenDispatcher(LocalTokenDispatcher.Config(num_experts=E, top_k=top_k_index.shape[1]))
    counts = torch.zeros(E, dtype=torch.int64, device=hidden_states.device)
    counts.scatter_add_(0, top_k_index.flatten(), torch.ones_like(top_k_index.flatten()))
    rows, counts, metadata = dispatcher.dispatch(hidden_states, top_k_weights, top_k_index, counts)
    gate, up = gate_up_proj.chunk(2, dim=1)
    computed = torch.func.functional_call(experts, {"w1_EFD": gate, "w3_EFD": up, "w2_EDF": down_proj}, (rows, counts))
    out: torch.Tensor = dispatcher.combine(computed, metadata, hidden_states)
    return out


torchtitan_experts = Target(
    "torchtitan_experts", routed_experts, level="experts", acts=("silu",), dtypes=("bfloat16",), row_bytes=16, strides=False,
    float32_reductions=True, module=MODULE, install="pip install torchtitan",
)  # fmt: skip
