"""ScatterMoE, Triton kernels behind an autograd function: its ``parallel_linear`` as a grouped GEMM, and its ``GLUMLP`` as experts.

This adapter multiplies float32 in IEEE arithmetic, as the package's own tests do; the package's default is tf32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from moefuzz.harness.targets import Target

MODULE = "scattermoe"
INSTALL = "pip install git+https://github.com/shawntan/scattermoe"


def linear(
    X: torch.Tensor,
    W: torch.Tensor,
    m_sizes: torch.Tensor,
    topk: int = 1,
    gather_indices: torch.Tensor | None = None,
    permute_x: bool = False,
    permute_y: bool = False,
) -> torch.Tensor:
    """Compute X [M, K], or [T, K] under permute_x, W [E, N, K], m_sizes [E] -> Y [M, N]."""
    from scattermoe import kernels, parallel_linear

    kernels.ops.ALLOW_TF32 = False
    M = X.shape[0] * (topk if permute_x else 1)
    rows = torch.arange(M, device=X.device)
    experts = torch.repeat_interleave(torch.arange(len(m_sizes), device=X.device), m_sizes.long(), output_size=M)
    slots = gather_indices.long() if gather_indices is not None and (permute_x or permute_y) else rows
    Y: torch.Tensor = parallel_linear(
        X,
        W.transpose(1, 2),
        topk if permute_x else 1,
        experts,
        slots,
        m_sizes.cumsum(0),
        grouped_in=not permute_x,
        grouped_out=not permute_y,
    )
    return Y


def mlp(
    hidden_states: torch.Tensor,
    top_k_index: torch.Tensor,
    top_k_weights: torch.Tensor,
    gate_up_proj: torch.Tensor,
    down_proj: torch.Tensor,
    act: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Run ScatterMoE's GLUMLP on the given weights; it takes the rows of up before those of gate."""
    from scattermoe import kernels
    from scattermoe.mlp import GLUMLP

    kernels.ops.ALLOW_TF32 = False
    E, H, width = down_proj.shape
    with torch.device("meta"):
        module = GLUMLP(H, width, E, top_k_index.shape[1], activation=act)
    weights = {"experts.weight": gate_up_proj.roll(width, 1), "output_experts.weight": down_proj}
    out: torch.Tensor = torch.func.functional_call(module, weights, (hidden_states, top_k_weights, top_k_index))
    return out


scattermoe_linear = Target("scattermoe_linear", linear, module=MODULE, install=INSTALL)
scattermoe_mlp = Target("scattermoe_mlp", mlp, level="experts", module=MODULE + ".mlp", install=INSTALL)
