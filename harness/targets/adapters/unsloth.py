"""unsloth's grouped GEMM, Triton kernels behind an autograd function: ``unsloth.kernels.moe.grouped_gemm``.

Its limits: contiguous weights, and N and K in whole tiles. This adapter chooses the tiles of the case, smaller where N and K need that. The
kernels multiply float32 in tf32. ``fuse_mul_post`` is left out: it rounds to the dtype first and then multiplies, as its source says.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch

from moefuzz.harness.targets import Target
from moefuzz.kernels.kernel_config import KernelConfig

MODULE = "unsloth.kernels.moe.grouped_gemm.interface"
INSTALL = "pip install unsloth (it needs a GPU)"

DEFAULT = KernelConfig(block_m=32, block_n=32, block_k=32)  # unsloth's default, for a case without a config


def grouped_gemm(
    X: torch.Tensor,
    W: torch.Tensor,
    m_sizes: torch.Tensor,
    topk: int = 1,
    gather_indices: torch.Tensor | None = None,
    permute_x: bool = False,
    permute_y: bool = False,
    kernel_config_fwd: KernelConfig | None = None,
    kernel_config_bwd_dX: KernelConfig | None = None,
    kernel_config_bwd_dW: KernelConfig | None = None,
    tma: bool = False,
) -> torch.Tensor:
    """Compute X [M, K], or [T, K] under permute_x, W [E, N, K], m_sizes [E] -> Y [M, N].

    - ``tma``: use TMA for every load and store for which the flags allow it; needs compute capability 9.0.
    """
    from unsloth.kernels.moe.grouped_gemm import interface

    N, K = W.shape[1:]
    configs = (kernel_config_fwd, kernel_config_bwd_dX, kernel_config_bwd_dW)
    forward, dX, dW = (_tiles(config or DEFAULT, N, K) for config in configs)
    plain_x, plain_y = tma and not permute_x, tma and not permute_y  # TMA can neither gather nor scatter here
    Y: torch.Tensor = interface.grouped_gemm(
        X, W, m_sizes, topk, gather_indices, permute_x, permute_y,
        kernel_config_fwd=interface.KernelConfigForward(
            **forward, use_tma_load_x=plain_x, use_tma_load_w=tma, use_tma_store=plain_y),
        kernel_config_bwd_dX=interface.KernelConfigBackward_dX(
            **dX, use_tma_load_dy=plain_y, use_tma_load_w=tma, use_tma_store=plain_x),
        kernel_config_bwd_dW=interface.KernelConfigBackward_dW(
            **dW, use_tma_load_dy=plain_y, use_tma_load_x=plain_x, use_tma_store=tma),
        is_first_gemm=not permute_y,
    )  # fmt: skip
    return Y


def _tiles(config: KernelConfig, N: int, K: int) -> dict[str, Any]:
    """Return the config as unsloth's keywords, with tiles that divide N and K where tiles of 16 do."""
    block_n, block_k = (
        math.gcd(block, size) if size % 16 == 0 else block for block, size in ((config.block_n, N), (config.block_k, K))
    )  # blocks are powers of two
    blocks = {"BLOCK_SIZE_M": config.block_m, "BLOCK_SIZE_N": block_n, "BLOCK_SIZE_K": block_k}
    return {**blocks, "num_warps": config.num_warps, "num_stages": config.num_stages}


LIMITS: dict[str, Any] = {
    "dtypes": ("bfloat16", "float16"),
    "strides": False,
    "n_multiple": 16,
    "k_multiple": 16,
    "module": MODULE,
    "install": INSTALL,
}
unsloth_grouped_gemm = Target("unsloth_grouped_gemm", grouped_gemm, **LIMITS)
unsloth_grouped_gemm_tma = Target("unsloth_grouped_gemm_tma", functools.partial(grouped_gemm, tma=True), **LIMITS)
