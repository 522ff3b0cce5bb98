"""The blocks that come with the package, as targets at the ``moe_block`` level."""

from __future__ import annotations

from typing import Any

from torch import nn

from moefuzz.kernels.kernel_config import KernelConfig
from moefuzz.kernels.qwen3_moe import Qwen3MoeFusedGroupedGEMMBlock, Qwen3MoeGroupedGEMMBlock


def hugging_face_block(block: Any) -> nn.Module:
    """Return Hugging Face's own block, its experts an eager loop."""
    module: nn.Module = block
    return module


def torch_block(block: Any) -> nn.Module:
    """Return the torch twin: moefuzz's block on a loop over experts."""
    return Qwen3MoeGroupedGEMMBlock.from_hf(block)


def triton_block(
    block: Any,
    permute_x: bool = False,
    permute_y: bool = False,
    kernel_config_fwd: KernelConfig | None = None,
    kernel_config_bwd_dX: KernelConfig | None = None,
    kernel_config_bwd_dW: KernelConfig | None = None,
) -> nn.Module:
    """Return moefuzz's block on the Triton grouped GEMM."""
    return Qwen3MoeFusedGroupedGEMMBlock.from_hf(
        block,
        permute_x=permute_x,
        permute_y=permute_y,
        kernel_config_fwd=kernel_config_fwd,
        kernel_config_bwd_dX=kernel_config_bwd_dX,
        kernel_config_bwd_dW=kernel_config_bwd_dW,
    )
