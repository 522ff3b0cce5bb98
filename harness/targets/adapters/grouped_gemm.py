"""The package ``grouped_gemm`` (tgale96's, which MegaBlocks calls), a CUDA extension: a loop of cuBLAS calls, or CUTLASS if built with it.

It checks for bfloat16, contiguous operands and batch sizes in int64; CUTLASS takes rows of multiples of 16 bytes.
"""

from __future__ import annotations

import torch

from moefuzz.harness.targets import Target


def gmm(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    """Compute X [M, K], W [E, N, K], m_sizes [E], read on the host -> Y [M, N]."""
    from grouped_gemm import ops

    Y: torch.Tensor = ops.gmm(X, W, m_sizes.cpu().to(torch.int64), trans_b=True)
    return Y


grouped_gemm_gmm = Target(
    "grouped_gemm_gmm", gmm, dtypes=("bfloat16",), strides=False, row_bytes=16, devices=("cuda",), float32_reductions=True,
    module="grouped_gemm.ops", install="pip install grouped_gemm (it builds a CUDA extension)",
)  # fmt: skip
