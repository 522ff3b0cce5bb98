"""torch's own grouped product, ``torch.nn.functional.grouped_mm``: CUTLASS on a GPU from compute capability 9.0 on, else a loop.

Its limit is that of torch: the strides of both operands, and so the rows of X, W and Y, are multiples of 16 bytes.
"""

from __future__ import annotations

import torch

from moefuzz.harness.targets import Target


def grouped_mm(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    """Compute X [M, K], W [E, N, K], m_sizes [E] -> Y [M, N]."""
    return torch.nn.functional.grouped_mm(X, W.transpose(1, 2), offs=m_sizes.cumsum(0, dtype=torch.int32))


torch_grouped_mm = Target("torch_grouped_mm", grouped_mm, row_bytes=16, strides=False, float32_reductions=True, module="torch")
