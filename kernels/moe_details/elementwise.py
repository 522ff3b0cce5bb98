"""Common parts of the kernels other than the GEMMs: the dtypes they take, the size of a tile, and when they move 16 bytes at a time."""

from __future__ import annotations

import torch

from .. import triton_interpreter

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def tile_of(columns: int, most: int = 256) -> tuple[int, int]:
    """Return rows and columns of a program's tile of a matrix with so many columns: 2048 elements, 64 columns or ``most``.

    There are only two shapes, as each is compiled. Under the interpreter, where programs are slow, a tile is 64 by 64.
    """
    if triton_interpreter.in_force():
        return 64, 64
    block = 64 if columns <= 64 else most
    return 2048 // block, block


def is_aligned(width: int, *operands: torch.Tensor) -> bool:
    """Return whether contiguous operands, with rows of ``width`` elements or a multiple of it, can be moved 16 bytes at a time."""
    return width % 8 == 0 and all(operand.data_ptr() % 16 == 0 for operand in operands)


def check_dtype(name: str, operand: torch.Tensor) -> None:
    """Raise TypeError unless an operand has a dtype of DTYPES."""
    if operand.dtype not in DTYPES:
        raise TypeError(f"{name} must be one of {[str(dtype) for dtype in DTYPES]}, got {operand.dtype}")
