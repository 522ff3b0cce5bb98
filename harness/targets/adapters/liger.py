"""Liger's fused MoE experts, Triton kernels behind an autograd function: ``liger_kernel.ops.LigerFusedMoEFunction``. SiLU alone.

The gradient of the weights is summed over tiles of I by atomic adds, so the same call need not give the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from moefuzz.harness.targets import Target

# Its autotuning measures 32 configurations of every kernel for each new shape, and needs a GPU. Read when the package is imported.
os.environ.setdefault("LIGER_FUSED_MOE_AUTOTUNE", "0")


def fused_moe(
    hidden_states: torch.Tensor,
    top_k_index: torch.Tensor,
    top_k_weights: torch.Tensor,
    gate_up_proj: torch.Tensor,
    down_proj: torch.Tensor,
    act: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Return the sum over experts for each token; the indices are passed as int32, as Liger's docstring asks."""
    from liger_kernel.ops import LigerFusedMoEFunction

    if act is not torch.nn.functional.silu:
        raise ValueError("Liger's fused MoE knows SiLU alone")
    out: torch.Tensor = LigerFusedMoEFunction.apply(hidden_states, gate_up_proj, down_proj, top_k_index.to(torch.int32), top_k_weights)
    return out


liger_fused_moe = Target(
    "liger_fused_moe",
    fused_moe,
    level="experts",
    acts=("silu",),
    deterministic=False,
    module="liger_kernel.ops",
    install="pip install liger-kernel",
)
