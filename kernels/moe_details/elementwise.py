"""What the kernels beside the GEMMs share: which dtypes they take, how large a tile is, and when they move 16 bytes at a time."""

from __future__ import annotations

import torch

from .. import triton_interpreter

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def tile_of(columns: int, most: int = 256) -> tuple[int, int]:
    """Rows and columns of a program's tile of a matrix with so many columns: 2048 elements, 64 columns or ``most``.

    Two shapes for all sizes, as each is compiled. Under the interpreter, where programs cost, a tile has 64 rows.
    """
    if triton_interpreter.in_force():
        return 64, 64
    block = 64 if columns <= 64 else most
    return 2048 // block, block


def is_aligned(width: int, *operands: torch.Tensor) -> bool:
    """Whether contiguous operands, with rows of ``width`` elements or several times that, can move 16 bytes at a time."""
    return width % 8 == 0 and all(operand.data_ptr() % 16 == 0 for operand in operands)


def check_dtype(name: str, operand: torch.Tensor) -> None:
    """Raise TypeError unless an operand has a dtype of DTYPES."""
    if operand.dtype not in DTYPES:
        raise TypeError(f"{name} must be one of {[str(dtype) for dtype in DTYPES]}, got {operand.dtype}")
