"""Tensors with strides other than contiguous ones: transposed, with gaps, or gigabytes apart."""

from __future__ import annotations

import torch

_CROSSING = 2**31  # elements


def laid_out(tensor: torch.Tensor, layout: str) -> torch.Tensor:
    """Return the same values in other strides: the last two axes exchanged in memory, or one axis wider with NaN in the gaps."""
    if layout == "transposed":
        return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)
    if layout == "padded":
        wider = torch.full((*tensor.shape[:-1], tensor.shape[-1] + 3), torch.nan, dtype=tensor.dtype)
        wider[..., : tensor.shape[-1]] = tensor
        return wider[..., : tensor.shape[-1]]
    return tensor


def far_apart(tensor: torch.Tensor, axis: int = 0) -> torch.Tensor:
    """Return the same values with entries along an axis so far apart that the last begins beyond 2**31 elements.

    The gaps are never touched: on a CPU they cost address space and no memory, on a GPU 2**31 elements of memory.
    """
    if tensor.shape[axis] < 2:
        return tensor
    stride = far_stride(tensor, axis)
    size = stride[axis] * (tensor.shape[axis] - 1) + tensor.numel()
    return torch.empty(size, dtype=tensor.dtype, device=tensor.device).as_strided(tensor.shape, stride).copy_(tensor)


def far_stride(tensor: torch.Tensor, axis: int) -> list[int]:
    """Return the strides of ``far_apart``; the tensor's own where it has fewer than two entries along the axis."""
    if tensor.shape[axis] < 2:
        return list(tensor.stride())
    stride = list(tensor.select(axis, 0).contiguous().stride())
    stride.insert(axis % tensor.dim(), _CROSSING // (tensor.shape[axis] - 1) + tensor.numel())
    return stride
