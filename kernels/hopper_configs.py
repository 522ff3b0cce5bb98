"""The configs of 16-bit operands on a Hopper GPU, by the mean rows of an expert: the fastest of a sweep on an H100 (docs/speed.md).

Few rows: the weights' way from memory decides, so tiles are as high as an expert has rows. Many: tiles are as large as registers allow, for
each moves through the L2 cache again. dW of few rows writes more than it reads: two programs a multiprocessor, one stores while one loads.
"""

from __future__ import annotations

from .kernel_config import KernelConfig


def _tma(block_m: int, block_n: int, block_k: int, num_warps: int, num_stages: int) -> KernelConfig:
    return KernelConfig(block_m, block_n, block_k, num_warps, num_stages, tma=True)


_ANY = 1 << 31
_UP_TO = {  # rows of an expert
    "forward": {16: _tma(16, 128, 128, 4, 5), 32: _tma(32, 128, 128, 4, 4), 96: _tma(64, 128, 128, 4, 4), _ANY: _tma(128, 256, 64, 8, 4)},
    "dX": {16: _tma(16, 128, 128, 4, 5), 32: _tma(32, 128, 128, 4, 4), 96: _tma(64, 128, 128, 4, 4), _ANY: _tma(128, 64, 256, 8, 4)},
    "dW": {128: _tma(32, 128, 128, 4, 4), 512: _tma(16, 128, 128, 4, 8), _ANY: _tma(32, 256, 128, 8, 5)},
}
_OTHERS = {
    "forward": (_tma(128, 128, 64, 4, 3),),
    "dX": (_tma(128, 64, 128, 4, 3),),
    "dW": (_tma(64, 128, 128, 4, 3), _tma(32, 128, 256, 8, 5)),
}
_CONFIGS = {
    kind: {most: tuple(dict.fromkeys([default, *table.values(), *_OTHERS[kind]])) for most, default in table.items()}
    for kind, table in _UP_TO.items()
}


def hopper_configs(kind: str, rows: float) -> tuple[KernelConfig, ...]:
    """For a pass ("forward", "dX", "dW") and so many rows an expert: the default first, then what else the autotune mode tries.

    >>> hopper_configs("dX", 4)[0].block_m, hopper_configs("dX", 1000)[0].block_m
    (16, 128)
    """
    return next(configs for most, configs in _CONFIGS[kind].items() if rows <= most)
