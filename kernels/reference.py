"""Plain torch implementations with the same signatures as the Triton kernels and the op: slow, and easy to check by reading.

For float64 they compute in float64. For the kernel's own types they compute in float32 and round each result once, as the contract of the
op says. (The reference by which moefuzz judges results is ``harness/numerics/segments.py``.)
``m_sizes`` is read on the host. Rows beyond the sum of ``m_sizes`` are returned as zeros, whatever they hold.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch


def expert_segments(m_sizes: torch.Tensor) -> Iterator[tuple[int, slice]]:
    """Yield (expert, slice of its sorted rows), empty experts included.

    >>> list(expert_segments(torch.tensor([2, 0, 1])))
    [(0, slice(0, 2, None)), (1, slice(2, 2, None)), (2, slice(2, 3, None))]
    """
    start = 0
    for e, size in enumerate(m_sizes.tolist()):
        yield e, slice(start, start + size)
        start += size


def segment_matmul(a: torch.Tensor, b: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    """Multiply rows by their expert's matrix: a [M, K], b [E, K, N] -> [M, N]; the forward pass with b = W^T."""
    out = a.new_zeros(a.shape[0], b.shape[2])
    for e, rows in expert_segments(m_sizes):
        out[rows] = a[rows] @ b[e]
    return out


def sorted_rows(X: torch.Tensor, gather_indices: torch.Tensor | None, divisor: int, total: int) -> torch.Tensor:
    """Return the ``total`` rows that experts own, in sorted order: X[gather_indices // divisor], or X's own first rows."""
    return X[:total] if gather_indices is None else X[gather_indices[:total].long() // divisor]


def grouped_gemm_reference(
    X: torch.Tensor,  # [M, K], or [T, K] under permute_x in the first GEMM
    W: torch.Tensor,  # [E, N, K]
    m_sizes: torch.Tensor,  # [E]
    topk: int,
    gather_indices: torch.Tensor | None = None,  # [M]
    permute_x: bool = False,
    permute_y: bool = False,
    topk_weights: torch.Tensor | None = None,  # [T, topk]
    fuse_mul_post: bool = False,
    kernel_config_fwd: object = None,
    kernel_config_bwd_dX: object = None,
    kernel_config_bwd_dW: object = None,
    autotune: bool = False,
    is_first_gemm: bool = True,
    validate: bool = False,
) -> torch.Tensor:  # [M, N]
    """Compute the op of grouped_gemm.py as a loop over experts, differentiable in X and W through torch's own autograd.

    The configs and ``autotune`` have no effect; they are accepted so that both have the same signature.

    >>> X, W = torch.tensor([[1.0], [2.0]]), torch.tensor([[[3.0]], [[5.0]]])
    >>> grouped_gemm_reference(X, W, torch.tensor([1, 1]), topk=1).tolist()
    [[3.0], [10.0]]
    """
    total = int(m_sizes.sum())
    M = X.shape[0] * topk if permute_x and is_first_gemm else X.shape[0]
    divisor = topk if is_first_gemm else 1
    wide = torch.promote_types(X.dtype, torch.float32)
    rows = sorted_rows(X.to(wide), gather_indices if permute_x else None, divisor, total)
    y = segment_matmul(rows, W.to(wide).transpose(1, 2), m_sizes)
    if fuse_mul_post:
        assert gather_indices is not None and topk_weights is not None
        y = y * topk_weights.reshape(-1)[gather_indices[:total].long()].to(wide)[:, None]
    out = y.new_zeros(M, W.shape[1])
    slots = gather_indices[:total].long() if permute_y and gather_indices is not None else slice(0, total)
    out[slots] = y
    return out.to(X.dtype)
