"""The configuration of a kernel's launch: tile sizes, warps, stages, and the promise of alignment."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass

NUMBERS = ("block_m", "block_n", "block_k", "num_warps", "num_stages")
FLAGS = ("aligned", "tma", "specialized")
"""The flags of a config, which select how tiles are moved."""

LARGEST_BLOCK, MOST_STAGES = 1 << 20, 100
"""A tensor of Triton has at most 2**20 elements."""


def shown(value: object) -> str:
    """Return a value as text for an error message of one line, shortened if it is long.

    >>> shown(1), shown((0,) * 100)
    ('1', '(0, 0, 0, 0, 0, 0, ...)')
    """
    return reprlib.repr(value)


@dataclass(frozen=True)
class KernelConfig:
    """One compiled variant of a grouped GEMM kernel.

    The letters mean the problem's axes in all three passes, so the contraction is ``block_k`` deep in the forward pass, ``block_n`` deep
    for dX and ``block_m`` deep for dW.

    ``aligned`` is a promise about every operand: innermost stride 1, all other strides and the address multiples of 16 bytes, N and K
    multiples of 8, and a contraction (K forward, N for dX) that is a multiple of its block. The kernel then loads 16 bytes at a time
    and leaves that contraction unmasked. ``tma`` is the same promise except for the contraction, which may have any length: the tensor
    memory accelerator, of GPUs from compute capability 9.0 on, moves whole tiles and fills them with zeros. The launcher checks both
    promises and raises ValueError if one does not hold.

    ``specialized`` is a request in addition to ``tma``: some warps load while others multiply, in persistent programs that process several
    tiles (hopper_pipeline.py). It has an effect on Hopper for operands and results of 16 bits in tiles of 128 rows (``block_m``, for dW
    ``block_n``) and columns in multiples of 64, if two stages fit into shared memory and no row is gathered, scattered or weighted; except
    for dW, the contraction's block must be a multiple of 64 too. Otherwise, and under the interpreter, the same tiles are computed
    without it.

    >>> KernelConfig(block_m=32)
    KernelConfig(block_m=32, block_n=16, block_k=16, num_warps=4, num_stages=2, aligned=False, tma=False, specialized=False)
    """

    block_m: int = 16
    block_n: int = 16
    block_k: int = 16
    num_warps: int = 4
    num_stages: int = 2
    aligned: bool = False
    tma: bool = False
    specialized: bool = False

    def __post_init__(self) -> None:
        for name in NUMBERS:
            if type(getattr(self, name)) is not int:
                raise ValueError(f"{name} must be a whole number, got {shown(getattr(self, name))}")
        for name in FLAGS:
            if type(getattr(self, name)) is not bool:
                raise ValueError(f"{name} must be True or False, got {shown(getattr(self, name))}")
        for name in NUMBERS[:3]:
            block = getattr(self, name)
            if block < 16 or block & (block - 1):
                raise ValueError(f"{name} must be a power of two and at least 16, got {shown(block)}")
            if block > LARGEST_BLOCK:
                raise ValueError(f"{name} must be at most {LARGEST_BLOCK}, got {shown(block)}")
        if self.num_warps not in (1, 2, 4, 8, 16):
            raise ValueError(f"num_warps must be 1, 2, 4, 8 or 16, got {shown(self.num_warps)}")
        if not 1 <= self.num_stages <= MOST_STAGES:
            raise ValueError(f"num_stages must be at least 1 and at most {MOST_STAGES}, got {shown(self.num_stages)}")
        if self.aligned and self.tma:
            raise ValueError("aligned and tma exclude each other: they are two ways to move the same tiles")
        if self.specialized and not self.tma:
            raise ValueError("specialized needs tma: its operands come as boxes")
        if self.tma and max(self.block_m, self.block_n, self.block_k) > 256:
            raise ValueError(f"the tensor memory accelerator moves at most 256 rows and columns, got {self}")

    @property
    def wide(self) -> bool:
        """Whether the config promises operands whose rows start on 16 bytes."""
        return self.aligned or self.tma


INTERPRETER_CONFIG = KernelConfig(block_m=64, block_n=64, block_k=64)
"""The config under the interpreter, which is fast with few programs of few operations each."""

SAFE_CONFIG = KernelConfig(block_m=64, block_n=64, block_k=32, num_warps=4, num_stages=3)
"""The config for operands that are not aligned."""

FORWARD_CONFIGS = (
    KernelConfig(block_m=128, block_n=128, block_k=64, num_warps=8, num_stages=3, aligned=True),
    KernelConfig(block_m=128, block_n=256, block_k=64, num_warps=8, num_stages=3, aligned=True),
    KernelConfig(block_m=64, block_n=128, block_k=64, num_warps=4, num_stages=4, aligned=True),
)
DX_CONFIGS = (
    KernelConfig(block_m=128, block_n=64, block_k=128, num_warps=8, num_stages=3, aligned=True),
    KernelConfig(block_m=128, block_n=64, block_k=256, num_warps=8, num_stages=3, aligned=True),
    KernelConfig(block_m=64, block_n=64, block_k=128, num_warps=4, num_stages=4, aligned=True),
)
DW_CONFIGS = (
    KernelConfig(block_m=64, block_n=128, block_k=128, num_warps=8, num_stages=3, aligned=True),
    KernelConfig(block_m=64, block_n=128, block_k=256, num_warps=8, num_stages=3, aligned=True),
    KernelConfig(block_m=32, block_n=128, block_k=128, num_warps=8, num_stages=4, aligned=True),
)
"""Candidates of the autotune mode, the default first; 16-bit operands on a Hopper GPU have ``hopper_configs``. Narrower problems and
unaligned operands take SAFE_CONFIG."""
