"""The bound of a contraction, and the interval of right results that follows from it.

C = sum_k a_k b_k, accumulated in float32 in any order and rounded once to the output type. With R the same sum in float64 and
S = sum_k |a_k| |b_k|, the float32 accumulation lies within

    b = c * S + K * 2**-126,    c = K * u / (1 - K * u),    u = 2**-23

Products of float16 or bfloat16 operands are exact in float32, products of float32 round once, and so does each of the K - 1 additions:
K roundings at most on any path, each within 2**-24 relative, or 2**-23 where a tensor core truncates what it aligns (Higham, Accuracy
and Stability of Numerical Algorithms, 2002, section 3.1, lemma 3.1). Where a rounding falls below the normal range, or is flushed, it
costs at most 2**-126 absolute instead. C is right if fl(R - b) <= C <= fl(R + b), fl rounding to the output type, the ends widened by
one float32 ulp because the accumulator itself is a float32 and float64 -> float32 -> output rounds twice.

Where all a_k are multiples of qa, all b_k of qb (powers of two) and S <= 2**24 * qa * qb, every partial sum in every order is a whole
number of qa * qb below 2**24 and so exact: b = 0, the ends are not widened, and the comparison is one of bits.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

Float64Array = npt.NDArray[np.float64]
"""The arrays of all comparisons. They are NumPy's, since its operations take a tenth of torch's time on tensors as small as a case's."""
BoolArray = npt.NDArray[np.bool_]

U = 2.0**-23
TINY = 2.0**-126
EXACT = 2.0**24

BLOCK = 1 << 14
"""The number of elements, 128 KiB of each array, that stay in a core's cache from one elementwise operation to the next."""


class Limits(NamedTuple):
    """The limits of a floating dtype."""

    u: float  # the unit roundoff, half an ulp of 1: 2**-8 bfloat16, 2**-11 float16, 2**-24 float32
    largest: float
    subnormal: float  # the smallest one


@functools.cache
def limits(dtype: torch.dtype) -> Limits:
    """Return the limits of a dtype."""
    info = torch.finfo(dtype)
    return Limits(info.eps / 2, info.max, info.smallest_normal * info.eps)


def u(dtype: torch.dtype) -> float:
    """Return the unit roundoff of a dtype."""
    return limits(dtype).u


def reals(x: torch.Tensor) -> Float64Array:
    """Return the numbers of a floating tensor in float64."""
    numbers: Float64Array = x.detach().cpu().double().numpy()
    return numbers


def quantum(x: Float64Array) -> float:
    """Return the largest power of two that divides every finite entry; infinity for zeros alone, which every number divides.

    >>> quantum(np.array([6.0, 0.0, -2.0])), quantum(np.array([0.75, 2.0])), quantum(np.zeros(2))
    (2.0, 0.25, inf)
    """
    numbers = x.ravel("K")
    largest = max(numbers.max(initial=0.0), -numbers.min(initial=0.0))
    if largest == 0:
        return math.inf
    if TINY <= largest < 2.0**62:  # no infinity or NaN: use integers of 63 bits, where these hold all entries
        every, shift = 0, 62 - math.frexp(largest)[1]
        for start in range(0, numbers.size, BLOCK):
            scaled = numbers[start : start + BLOCK] * 2.0**shift
            whole = scaled.astype(np.int64)
            if (whole != scaled).any():
                break
            every |= int(np.bitwise_or.reduce(whole))
        else:
            return math.ldexp(every & -every, -shift)
    size = np.abs(numbers)
    size = size[(size > 0) & (size < np.inf)]
    if not size.size:
        return math.inf
    significand, exponent = np.frexp(size)
    whole = np.ldexp(significand, 53).astype(np.int64)
    return float(np.ldexp((whole & -whole).astype(np.float64), exponent - 53).min())


def accumulation_error(S: Float64Array, depth: Float64Array | int, unit: float) -> Float64Array:
    """Return the bound b of this module's docstring: ``depth`` is the number K of products, ``unit`` the quantum qa * qb."""
    bound: Float64Array = depth * U / (1 - depth * U) * S
    bound += depth * TINY
    np.copyto(bound, 0.0, where=EXACT * unit >= S if unit >= TINY else S == 0)
    return bound


def declared_error(S: Float64Array, unit: float, dtype: torch.dtype, *, partial_sums: int, tf32: bool) -> Float64Array:
    """Return the further error that a target declares; S and ``unit`` as above, ``dtype`` that of the result.

    - ``partial_sums`` n > 1: n sums are rounded to ``dtype`` and then added in it. The n roundings cost at most u * S together, the n - 1
      adds u * S each, and each of the 2 n - 1 half a subnormal at most: n * (u * S + the smallest subnormal). Where S is at most
      2**p * unit, p the bits of a significand, every partial sum is in the grid of ``dtype``, and no rounding costs anything.
    - ``tf32``: each operand loses less than 2**-10 of itself, whether it is rounded or cut off to 11 bits, and so each product less
      than 2**-9. (Operands that have no more bits lose nothing: see ``is_tf32``.)
    """
    extra = np.zeros_like(S)
    if partial_sums > 1:
        rounding = partial_sums * (u(dtype) * S + limits(dtype).subnormal)
        extra = np.where(unit / u(dtype) >= S, 0.0, rounding)
    return extra + 2.0**-9 * S if tf32 else extra


def is_tf32(x: Float64Array) -> bool:
    """Return whether every entry has at most the 11 significant bits of tf32.

    >>> is_tf32(np.array([2047.0, -0.75, 0.0])), is_tf32(np.array([2049.0]))
    (True, False)
    """
    whole = np.ldexp(np.frexp(x)[0], 11)
    return bool((whole == np.rint(whole)).all())


def ulp(x: Float64Array, dtype: torch.dtype) -> Float64Array:
    """Return the distance between neighbours in ``dtype`` around x, at least the smallest subnormal, without an upper limit."""
    bits = np.array(x, np.float64).view(np.int64)
    bits &= _EXPONENT  # the power of two at or below each number; frexp and ldexp take three times as long
    spacing: Float64Array = bits.view(np.float64)
    spacing *= 2 * u(dtype)
    np.maximum(spacing, limits(dtype).subnormal, out=spacing)
    np.minimum(spacing, _FINITE, out=spacing)
    spacing[x == 0] = u(dtype)  # as frexp has it: zero counts as a number just below 1
    return spacing


_EXPONENT = 0x7FF << 52
_FINITE = 2.0**1000  # the spacing around infinity is finite too, so that infinity stays infinite when it is rounded


def rounded(x: Float64Array, dtype: torch.dtype) -> Float64Array:
    """Round float64 to nearest even into the grid of ``dtype``, subnormals and overflow to infinity included, and stay in float64.

    It rounds once: division by a power of two is exact, and so is the product. On a CPU ``x.to(dtype)`` goes through float32 and rounds
    twice, 1 + 2**-8 + 2**-30 to 1 instead of 1 + 2**-7 in bfloat16. Rounding is monotone, so a float32 accumulator inside
    [v - e, v + e] rounds to a number between rounded(v - e) and rounded(v + e).
    """
    spacing = ulp(x, dtype)
    result: Float64Array = np.rint(x / spacing) * spacing
    overflows = np.abs(result) > limits(dtype).largest
    if overflows.any():
        result = np.where(overflows, np.copysign(np.inf, x), result)
    return result


@np.errstate(invalid="ignore", over="ignore")  # an end of infinity less infinity is valid: it allows every number
def interval(R: Float64Array, b: Float64Array, dtype: torch.dtype) -> tuple[Float64Array, Float64Array]:
    """Return the least and the greatest right result, in the grid of ``dtype`` and as float64.

    Where b > 0 each end is first moved outward by one float32 ulp: R - b and R + b are float64 numbers near the real ends, and no float32
    lies nearer. Where b = 0 nothing moves, and the comparison is one of bits.
    """
    if not b.any():
        only = rounded(R, dtype)
        return only, only
    low, high = R - b, R + b
    low = np.where(b > 0, low - ulp(low, torch.float32), low)
    high = np.where(b > 0, high + ulp(high, torch.float32), high)
    return rounded(low, dtype), rounded(high, dtype)


def outside(got: Float64Array, low: Float64Array, high: Float64Array) -> BoolArray:
    """Return a mask of wrong results in ``got``: outside [low, high], or NaN where not every number is allowed. -0 and +0 are equal.

    Infinity is right where an end of the interval overflows the dtype; a finite number is wrong where both do.
    """
    wrong: BoolArray = ~((got >= low) & (got <= high))
    if wrong.any():
        wrong &= ~(np.isnan(got) & (low == -np.inf) & (high == np.inf))
    return wrong
