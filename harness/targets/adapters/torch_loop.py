"""A loop over experts, one torch product each: the simplest target, and what many models run."""

from __future__ import annotations

import torch

from moefuzz.harness.targets import Target


def loop(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    """Compute X [M, K], W [E, N, K], m_sizes [E], read on the host -> Y [M, N]."""
    return torch.cat([rows @ w.T for rows, w in zip(X.split(m_sizes.tolist()), W, strict=True)])


torch_loop = Target("torch_loop", loop, float32_reductions=True, module="torch")
