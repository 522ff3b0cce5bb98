"""Contents of memory: extents of strided tensors, guard bytes, and poison.

Guard bytes are 0xFF, which is a NaN in every floating type. Poison is the initial content of memory that a target allocates: NaN, or a
finite number, so that a second call distinguishes poison from a NaN that was computed.
"""

from __future__ import annotations

import torch

GUARD = 0xFF


def extent(tensor: torch.Tensor) -> int:
    """Return the number of elements from the first to the last of a tensor, both included.

    >>> extent(torch.zeros(3, 4)[:, :2]), extent(torch.zeros(0, 4))
    (10, 0)
    """
    if tensor.is_contiguous():
        return tensor.numel()
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def flat(tensor: torch.Tensor) -> torch.Tensor:
    """Return the memory of a tensor from its first element to its last, gaps of the strides included, as one axis."""
    return tensor.as_strided((extent(tensor),), (1,), tensor.storage_offset())


def n_bytes(tensor: torch.Tensor) -> int:
    """Return the number of bytes from the first element of a tensor to the end of the last."""
    return extent(tensor) * tensor.element_size()


def finite_poison(dtype: torch.dtype) -> float:
    """Return the number that the poison "finite" is in a dtype."""
    return -7.0 if dtype.is_floating_point else 0


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Return whether two floating tensors hold the same bits, NaN included."""
    return torch.equal(_bits(a), _bits(b))


def is_poison(values: torch.Tensor, poison: str) -> torch.Tensor:
    """Return a mask of the elements of a floating tensor that still hold the bits of a poison."""
    return values == finite_poison(values.dtype) if poison == "finite" else _bits(values) == -1


def _bits(values: torch.Tensor) -> torch.Tensor:
    return values.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()])
