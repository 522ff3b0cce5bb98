"""The configs of 16-bit operands on a Hopper GPU, by the mean rows of an expert and the contraction: fastest on an H100.

With few rows the time is that of reading the weights from memory, so a tile is as high as an expert has rows. With many rows tiles are as
large as registers allow, since the operands of each pass through the L2 cache again. dW of few rows writes more than it reads: with two
programs per multiprocessor one stores while the other loads. With more rows warps are specialised, except in dX of up to 192 rows, where
one program for each tile is slightly faster. A fourth stage of the ring helps, except for a long contraction with many rows
(docs/evidence/speed.md).
"""

from __future__ import annotations

import dataclasses
import functools
from bisect import bisect_left

from ..kernel_config import KernelConfig


def _tma(block_m: int, block_n: int, block_k: int, num_warps: int, num_stages: int) -> KernelConfig:
    return KernelConfig(block_m, block_n, block_k, num_warps, num_stages, tma=True)


def _specialized(block_m: int, block_n: int, block_k: int, num_stages: int) -> KernelConfig:
    return KernelConfig(block_m, block_n, block_k, 8, num_stages, tma=True, specialized=True)


def _turned(config: KernelConfig) -> KernelConfig:
    """Return the config for dX, whose columns are K and whose contraction is along N, that corresponds to one for the forward pass."""
    return dataclasses.replace(config, block_n=config.block_k, block_k=config.block_n)


_ANY = 1 << 31
_FEW_ROWS = [  # of an expert, and the depth: up to so many
    (16, _ANY, _tma(16, 128, 128, 4, 5)),
    (32, _ANY, _tma(32, 128, 128, 4, 4)),
]
_MANY_ROWS = [
    (_ANY, 2048, _specialized(128, 256, 64, 4)),
    (384, _ANY, _specialized(128, 256, 64, 4)),
    (_ANY, _ANY, _specialized(128, 256, 64, 3)),
    (_ANY, _ANY, _tma(128, 256, 64, 8, 4)),
]
_FORWARD = [
    *_FEW_ROWS,
    (96, _ANY, _specialized(128, 128, 64, 5)),
    (96, _ANY, _tma(64, 128, 128, 4, 4)),
    *_MANY_ROWS,
]
_DX = [
    *_FEW_ROWS,
    (192, _ANY, _tma(128, 256, 64, 8, 4)),
    *_MANY_ROWS,
]
_UP_TO = {  # the first that fits
    "forward": _FORWARD,
    "dX": [(rows, depth, _turned(config)) for rows, depth, config in _DX],
    "dW": [
        (16, _ANY, _tma(16, 128, 128, 4, 8)),
        (96, _ANY, _specialized(64, 128, 128, 6)),
        (96, _ANY, _tma(32, 128, 128, 4, 4)),
        (_ANY, _ANY, _specialized(32, 128, 256, 8)),
        (512, _ANY, _tma(16, 128, 128, 4, 8)),
        (_ANY, _ANY, _tma(32, 256, 128, 8, 5)),
    ],
}
_OTHERS = {
    "forward": (_tma(128, 128, 64, 4, 3),),
    "dX": (_tma(128, 64, 128, 4, 3),),
    "dW": (_specialized(64, 128, 256, 4), _tma(64, 128, 128, 4, 3), _tma(32, 128, 256, 8, 5)),
}


def hopper_configs(kind: str, rows: float, depth: int, *, plain: bool) -> tuple[KernelConfig, ...]:
    """Return the configs for a pass ("forward", "dX", "dW"), mean rows per expert, and a contraction of ``depth`` (ignored for dW).

    The default is first, then the other candidates of the autotune mode. ``plain``: no row is gathered, scattered or weighted, and the
    result has 16 bits, so that warps may be specialised.

    >>> [hopper_configs("dX", rows, 4096, plain=True)[0].block_m for rows in (4, 1000)]
    [16, 128]
    """
    return _configs(kind, _BOUNDS[bisect_left(_BOUNDS, rows)], _BOUNDS[bisect_left(_BOUNDS, depth)], plain)


_BOUNDS = sorted({most for table in _UP_TO.values() for *both, _ in table for most in both})
"""All numbers with which sizes are compared; the result is the same for all sizes between two of them."""


@functools.cache
def _configs(kind: str, rows: int, depth: int, plain: bool) -> tuple[KernelConfig, ...]:
    possible = [row for row in _UP_TO[kind] if plain or not row[-1].specialized]
    default = next(config for most, deepest, config in possible if rows <= most and depth <= deepest)
    others = [config for config in _OTHERS[kind] if plain or not config.specialized]
    return tuple(dict.fromkeys([default, *(config for *_, config in possible), *others]))
