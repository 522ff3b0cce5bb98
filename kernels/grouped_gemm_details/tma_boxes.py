"""Descriptors by which the tensor memory accelerator of Hopper and later GPUs moves boxes of a tensor whose rows start on 16 bytes."""

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl
from triton.tools import ragged_tma
from triton.tools.tensor_descriptor import TensorDescriptor

from .. import triton_interpreter

triton_interpreter.repair()


@functools.cache
def are_there(device: torch.device) -> bool:
    """Return whether a device moves boxes: compute capability 9.0 or later, or the interpreter."""
    return triton_interpreter.in_force() or (device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0))


def boxes(tensor: torch.Tensor, *shape: int) -> TensorDescriptor:
    """Return a descriptor for boxes of the tensor's own rank; elements outside of it are loaded as zeros, and not stored."""
    tensor = _strides_in_range(tensor)
    return TensorDescriptor(tensor, list(tensor.shape), list(tensor.stride()), list(shape))


def ragged_boxes(tensor: torch.Tensor, *shape: int) -> TensorDescriptor:
    """Return a descriptor for ``load_ragged`` of a matrix with at most 2**30 rows; its boxes end where a slice of rows ends."""
    return ragged_tma.create_ragged_descriptor(_strides_in_range(tensor), list(shape))


@triton.jit
def load_ragged(desc, start, size, row, column, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Load rows start + row + [0, ROWS) of a matrix, with zeros from start + size on."""
    high, end, at = ragged_tma.to_ragged_indices(start, size, row)
    return desc.load([high, end, at, column]).reshape(ROWS, COLUMNS)


def _strides_in_range(tensor: torch.Tensor) -> torch.Tensor:
    """Return the same tensor with valid strides: an axis of one entry may have any, but a descriptor needs a multiple of 16 bytes."""
    if 1 not in tensor.shape[:-1]:
        return tensor
    quantum = 16 // tensor.element_size()
    outer = [quantum if size == 1 else stride for size, stride in zip(tensor.shape[:-1], tensor.stride()[:-1], strict=True)]
    return tensor.as_strided(tensor.shape, (*outer, 1))
