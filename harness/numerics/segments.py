"""Products of rows, sorted by expert, with their expert's matrix, in float64: the basis of the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from .bounds import Float64Array

Int64Array = npt.NDArray[np.int64]

_SMALL = 1 << 16
"""Products of fewer terms take NumPy a quarter to three quarters of torch's time. Larger ones go to torch, which keeps to its threads."""


def segment_matmul(a: Float64Array, b: Float64Array, m_sizes: Sequence[int] | Int64Array) -> Float64Array:
    """Multiply rows by their expert's matrix: a [M, K], b [E, K, N] -> [M, N]; the forward pass with b = W^T, dX with b = W.

    >>> segment_matmul(np.array([[1.0], [2.0]]), np.array([[[3.0]], [[5.0]], [[7.0]]]), [1, 0, 1]).tolist()
    [[3.0], [14.0]]
    """
    out = np.zeros((a.shape[0], b.shape[2]))
    for e, rows in _segments(m_sizes):
        _multiply(a[rows], b[e], out[rows])
    return out


def segment_outer(a: Float64Array, b: Float64Array, m_sizes: Sequence[int] | Int64Array) -> Float64Array:
    """Contract the rows of each expert: a [M, N], b [M, K] -> [E, N, K]; dW with a = dY, b = X.

    >>> segment_outer(np.array([[1.0], [2.0]]), np.array([[3.0], [5.0]]), [0, 2]).tolist()
    [[[0.0]], [[13.0]]]
    """
    out = np.zeros((len(m_sizes), a.shape[1], b.shape[1]))
    for e, rows in _segments(m_sizes):
        _multiply(a[rows].T, b[rows], out[e])
    return out


def _segments(m_sizes: Sequence[int] | Int64Array) -> Iterator[tuple[int, slice]]:
    """Yield (expert, slice of its sorted rows), without the experts that have no rows."""
    start = 0
    for e, size in enumerate(m_sizes):
        if size:
            yield e, slice(start, start + size)
            start += size


def _multiply(a: Float64Array, b: Float64Array, out: Float64Array) -> None:
    if a.shape[0] * a.shape[1] * b.shape[1] < _SMALL:
        np.matmul(a, b, out=out)
    else:
        torch.matmul(torch.from_numpy(a), torch.from_numpy(b), out=torch.from_numpy(out))
