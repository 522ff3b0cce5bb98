"""Data recipes: the same bits on every machine, computed from raw counter bits by exact arithmetic alone.

``torch.randn`` differs between CPU instruction sets; Philox's raw output does not, and every step below is exact in float32.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import numpy as np
import torch

Shape = tuple[int, ...]


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.philox = np.random.Philox(key=0)  # kept, since a new one first asks the system for a seed, even with a key
        self.unused = self.philox.state


_of_thread = _OfThread()


def raw_bits(seed: int, stream: int, shape: Shape) -> np.ndarray:
    """Return uint64 counter bits; each tensor of a problem has a stream of its own."""
    philox, key = _of_thread.philox, np.array([seed, stream], np.uint64)
    philox.state = _of_thread.unused | {"state": {"counter": np.zeros(4, np.uint64), "key": key}}
    return philox.random_raw(math.prod(shape)).reshape(shape)


def integers(bits: np.ndarray, fp16: bool) -> np.ndarray:
    """Return whole numbers from -4 to 4: sums are exact."""
    return (bits % 9).astype(np.float32) - np.float32(4)


def signs(bits: np.ndarray, fp16: bool) -> np.ndarray:
    """Return -1, 0 or 1, half of them 0."""
    magnitude = (bits & 1).astype(np.float32)
    sign = 1 - (bits & 2).astype(np.float32)
    product: np.ndarray = magnitude * sign
    return product


def positive(bits: np.ndarray, fp16: bool) -> np.ndarray:
    """Return whole numbers from 0 to 8: sums are exact and soon exceed 256, up to which bfloat16 holds every whole number."""
    return (bits % 9).astype(np.float32)


def normal(bits: np.ndarray, fp16: bool) -> np.ndarray:
    """Return nearly normal numbers of variance 1/3: four 16-bit uniform numbers added, centred, and scaled by a power of two."""
    total = (bits & 0xFFFF) + ((bits >> 16) & 0xFFFF) + ((bits >> 32) & 0xFFFF) + (bits >> 48)
    total = total.astype(np.int64) - 2 * 0xFFFF
    scaled: np.ndarray = total.astype(np.float32) * np.float32(2.0**-16)
    return scaled


def wide(bits: np.ndarray, fp16: bool) -> np.ndarray:
    """Return random signs and 11-bit fractions with exponents over a wide range: -12..12, in fp16 -7..4."""
    low, count = (-7, 12) if fp16 else (-12, 25)
    exponent = ((bits >> 32) % count).astype(np.int32) + low
    significand = 1 + (bits & 0x7FF).astype(np.float32) / np.float32(2048)
    return np.ldexp(np.where((bits >> 16) & 1, -significand, significand), exponent)


def cancelling(bits: np.ndarray, fp16: bool) -> np.ndarray:
    """Return nearly normal numbers; each second column is the negative of its neighbour plus a small rest, so that sums cancel."""
    values = normal(bits, fp16)
    pairs = values[..., : values.shape[-1] // 2 * 2]
    pairs[..., 1::2] = -pairs[..., ::2] + pairs[..., 1::2] * np.float32(2.0**-8)
    return values


def zeros(bits: np.ndarray, fp16: bool) -> np.ndarray:
    """Return zeros."""
    return np.zeros(bits.shape, np.float32)


_RECIPES: dict[str, Callable[[np.ndarray, bool], np.ndarray]] = {
    "integers": integers,
    "signs": signs,
    "normal": normal,
    "wide": wide,
    "cancelling": cancelling,
    "zeros": zeros,
    "positive": positive,
}


def values(recipe: str, seed: int, stream: int, shape: Shape, fp16: bool = False) -> np.ndarray:
    """Return float32 numbers of a recipe, not yet rounded to the case's dtype. ``fp16`` keeps products far from its overflow.

    >>> values("integers", 0, 0, (2, 3)).tolist()
    [[1.0, 1.0, -4.0], [-1.0, -1.0, -1.0]]
    """
    return _RECIPES[recipe](raw_bits(seed, stream, shape), fp16).astype(np.float32, copy=False)


def tensor(numbers: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """Return the numbers in a dtype. An empty NumPy array may have strides of 0, which torch's own tensors never have."""
    return torch.from_numpy(numbers.ravel()).to(dtype).reshape(numbers.shape)


def routing_weights(recipe: str, seed: int, stream: int, shape: Shape) -> np.ndarray:
    """Return float32 weights in (0, 1], of 24 bits; powers of two for recipes of whole numbers, so that products stay exact."""
    bits = raw_bits(seed, stream, shape)
    if recipe in ("integers", "signs", "positive"):
        return np.ldexp(np.float32(1), -(bits % 4).astype(np.int32))
    weights: np.ndarray = ((bits % 2**24).astype(np.float32) + 1) / np.float32(2**24)
    return weights


def permutation(seed: int, stream: int, n: int) -> np.ndarray:
    """Return a permutation of range(n): the order of n counter outputs, equal ones in place."""
    return np.argsort(raw_bits(seed, stream, (n,)), kind="stable")
