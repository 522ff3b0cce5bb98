"""The configs of 16-bit operands on a Hopper GPU, by the mean rows of an expert: the fastest of a sweep on an H100 (docs/speed.md).

Few rows: the weights' way from memory decides, so tiles are as high as an expert has rows. Many: tiles are as large as registers allow, for
each moves through the L2 cache again. dW of few rows writes more than it reads: two programs a multiprocessor, one stores while one loads.
Warps are specialised where that won: in dW of more rows, whose tiles are short, so that much of their time is what comes before and after
the products; in the forward pass where most tiles are half empty; and where there are many rows. Between, where the weights take as long to
read as to multiply, a program for each tile did better.
"""

from __future__ import annotations

import dataclasses
import functools

from .kernel_config import KernelConfig


def _tma(block_m: int, block_n: int, block_k: int, num_warps: int, num_stages: int) -> KernelConfig:
    return KernelConfig(block_m, block_n, block_k, num_warps, num_stages, tma=True)


def _specialized(block_m: int, block_n: int, block_k: int, num_stages: int) -> KernelConfig:
    return KernelConfig(block_m, block_n, block_k, 8, num_stages, tma=True, specialized=True)


def _turned(config: KernelConfig) -> KernelConfig:
    """For dX, whose columns are K and whose contraction is along N, what ``config`` is for the forward pass."""
    return dataclasses.replace(config, block_n=config.block_k, block_k=config.block_n)


_ANY = 1 << 31
_FORWARD = [
    (16, _tma(16, 128, 128, 4, 5)),
    (32, _tma(32, 128, 128, 4, 4)),
    (96, _specialized(128, 128, 64, 5)),
    (96, _tma(64, 128, 128, 4, 4)),
    (384, _tma(128, 256, 64, 8, 4)),
    (_ANY, _specialized(128, 256, 64, 4)),
    (_ANY, _tma(128, 256, 64, 8, 4)),
]
_UP_TO = {  # rows of an expert; the first that fits
    "forward": _FORWARD,
    "dX": [(most, _turned(config)) for most, config in _FORWARD if most != 96],  # which wins in the forward pass alone
    "dW": [
        (16, _tma(16, 128, 128, 4, 8)),
        (96, _specialized(64, 128, 128, 6)),
        (96, _tma(32, 128, 128, 4, 4)),
        (_ANY, _specialized(32, 128, 256, 8)),
        (512, _tma(16, 128, 128, 4, 8)),
        (_ANY, _tma(32, 256, 128, 8, 5)),
    ],
}
_OTHERS = {
    "forward": (_tma(128, 128, 64, 4, 3),),
    "dX": (_tma(128, 64, 128, 4, 3),),
    "dW": (_specialized(64, 128, 256, 4), _tma(64, 128, 128, 4, 3), _tma(32, 128, 256, 8, 5)),
}


def hopper_configs(kind: str, rows: float, *, plain: bool) -> tuple[KernelConfig, ...]:
    """For a pass ("forward", "dX", "dW") and so many rows an expert: the default first, then what else the autotune mode tries.

    ``plain``: no row is gathered, scattered or weighed, and the result has 16 bits, so that warps may be specialised.

    >>> [hopper_configs("dX", rows, plain=True)[0].block_m for rows in (4, 1000)]
    [16, 128]
    """
    return _configs(kind, next(most for most, _ in _UP_TO[kind] if rows <= most), plain)


@functools.cache
def _configs(kind: str, rows: int, plain: bool) -> tuple[KernelConfig, ...]:
    fitting = [(most, config) for most, config in _UP_TO[kind] if plain or not config.specialized]
    default = next(config for most, config in fitting if rows <= most)
    others = [config for config in _OTHERS[kind] if plain or not config.specialized]
    return tuple(dict.fromkeys([default, *(config for _, config in fitting), *others]))
