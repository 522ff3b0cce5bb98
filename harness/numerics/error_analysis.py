"""Running error analysis in float64: a value, and how far from it a correct float32, float16 or bfloat16 result may lie.

Every function takes the possible results of earlier steps, v - e <= x <= v + e, and returns those of its own:

    error of the result = errors of the inputs, carried through exactly + roundings of this step at the largest inputs there may be

An error of 0 means that every correct result *is* the value. It survives sums of integers, ReLU, products by powers of two, and stores of
representable numbers. float64's own roundings (2**-53) are not counted: those of float32, which are, are 2**29 times as large.
A result without a bound (0 * inf, a quotient by what may be zero, more than float32 holds) has an infinite error and is always accepted.

Units: U = 2**-23 for what a tensor core may truncate and for ulps of library functions, u(float32) = 2**-24 for a rounded operation,
TINY = 2**-126 for what one flush below the normal range loses (never more than the magnitude itself, hence the ``clamp(max=TINY)``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from .bounds import TINY, BoolArray, Float64Array, U, accumulation_error, interval, limits, outside, quantum, reals, rounded, u

Matmul = Callable[[Float64Array, Float64Array], Float64Array]
FLOAT32 = torch.float32

SIGMOID_FLUSH = 2.0**-119
"""|x| sigmoid(x) and |silu'(x)| where sigmoid(x) < TINY, that is x < -87.33: both fall with |x|, 87.34 * TINY < 2**-119."""


@dataclass(frozen=True)
class Bounded:
    """Every correct result lies in [value - error, value + error]; both of one shape, error >= 0."""

    value: Float64Array
    error: Float64Array

    def map(self, op: Callable[[Float64Array], Float64Array]) -> Bounded:
        """Apply ``op``, which only moves elements (an index, a transpose, a view), to value and error; return the result."""
        return Bounded(op(self.value), op(self.error))

    def __getitem__(self, index: Any) -> Bounded:
        return Bounded(self.value[index], self.error[index])

    @cached_property
    def magnitude(self) -> Float64Array:
        """The largest absolute value that a correct result may have."""
        return np.abs(self.value) + self.error

    @cached_property
    def is_exact(self) -> bool:
        """Whether no element has an error."""
        return not self.error.any()

    @cached_property
    def unit(self) -> float:
        """The quantum of the elements without an error."""
        return quantum(self.value if self.is_exact else np.where(self.error == 0, self.value, 0.0))


def exact(tensor: torch.Tensor) -> Bounded:
    """Return the numbers of a tensor, bit by bit, with an error of 0."""
    value = reals(tensor)
    return bounded(value, np.zeros_like(value))


def cat(parts: Sequence[Bounded], axis: int) -> Bounded:
    return Bounded(np.concatenate([part.value for part in parts], axis), np.concatenate([part.error for part in parts], axis))


def bounded(value: Float64Array, error: Float64Array, magnitude: Float64Array | None = None) -> Bounded:
    """Return the pair, with error inf where one of them is not finite or an intermediate float32, up to ``magnitude``, may overflow."""
    known = np.isfinite(value) & np.isfinite(error)
    known &= (np.abs(value) + error if magnitude is None else magnitude) <= limits(FLOAT32).largest
    if known.all():
        return Bounded(value, error)
    return Bounded(np.where(np.isfinite(value), value, 0.0), np.where(known, error, np.inf))


def either(a: Bounded, b: Bounded) -> Bounded:
    """Return a number that may be computed in either of two right ways: it has the larger error."""
    return Bounded(a.value, np.maximum(a.error, b.error))


def stored(x: Bounded, dtype: torch.dtype) -> Bounded:
    """Return x after a store that may round to ``dtype`` or not: the error is the larger of the old one and that of rounded ends."""
    low = np.abs(rounded(x.value - x.error, dtype) - x.value)
    high = low if x.is_exact else np.abs(rounded(x.value + x.error, dtype) - x.value)
    return bounded(x.value, np.maximum(x.error, np.maximum(low, high)))


def contract(a: Bounded, b: Bounded, matmul: Matmul, depth: Float64Array | int) -> Bounded:
    """Return sums of ``depth`` products accumulated in float32, in any order: ``accumulation_error`` at S = (|A| + eA) @ (|B| + eB).

    Bounded: |a' b' - a b| <= |a| eb + ea |b| + ea eb, summed. ``matmul`` is bilinear, and monotone where no entry is negative. Where the
    carried part of an element is 0, each of its products has two exact factors or an exact 0. Then a number that divides all exact entries
    divides its partial sums, and ``accumulation_error`` tells whether float32 holds these. ``depth`` broadcasts against the result.
    """
    value, S = matmul(a.value, b.value), matmul(a.magnitude, b.magnitude)
    accumulated = accumulation_error(S, depth, a.unit * b.unit)
    if a.is_exact and b.is_exact:
        return bounded(value, accumulated, S + accumulated)
    inputs = np.zeros_like(S)
    if not b.is_exact:
        inputs += matmul(np.abs(a.value), b.error)
    if not a.is_exact:
        inputs += matmul(a.error, b.magnitude)
    accumulated = np.where(inputs == 0, accumulated, accumulation_error(S, depth, 0.0))
    return bounded(value, inputs + accumulated, S + accumulated)


def _operation(value: Float64Array, inputs: Float64Array, roundings: float, magnitude: Float64Array) -> Bounded:
    """Return a float32 operation: ``inputs`` carried, ``roundings`` times the largest result, one flush; exact if float32 has the value.

    Without an error in the inputs the value is computed from the same numbers as in a correct implementation; if it is a normal float32,
    or 0, then correct rounding returns it.
    """
    size = np.abs(value)
    held = (value == rounded(value, FLOAT32)) & ((value == 0) | (size >= TINY)) & (inputs == 0)
    step = np.where(held, 0.0, roundings * (size + inputs) + np.minimum(magnitude, TINY))
    return bounded(value, inputs + step)


def mul(a: Bounded, b: Bounded) -> Bounded:
    """Multiply in float32: |a| eb + ea |b| + ea eb, and one rounding."""
    inputs = np.abs(a.value) * b.error + a.error * b.magnitude
    return _operation(a.value * b.value, inputs, u(FLOAT32), a.magnitude * b.magnitude)


def add(a: Bounded, b: Bounded) -> Bounded:
    """Add in float32: ea + eb, and one rounding."""
    return _operation(a.value + b.value, a.error + b.error, u(FLOAT32), a.magnitude + b.magnitude)


def sub(a: Bounded, b: Bounded) -> Bounded:
    """Subtract in float32, as ``add`` does."""
    return add(a, Bounded(-b.value, b.error))


def div(a: Bounded, b: Bounded) -> Bounded:
    """Divide in float32: |a'/b' - a/b| <= (ea + |a/b| eb) / (|b| - eb), and 2**-22 relative.

    PTX promises 2 ulp for ``div.full.f32``, Triton's ``/``; torch divides to half an ulp. Only the quotient 0 / b counts as exact.
    """
    value = a.value / b.value
    inputs = (a.error + np.abs(value) * b.error) / (np.abs(b.value) - b.error)
    inputs = np.where(np.abs(b.value) > b.error, inputs, np.inf)
    largest = np.abs(value) + inputs
    return bounded(value, inputs + 2 * U * largest + np.minimum(largest, TINY))


def sum_stored(x: Bounded, axis: int, dtype: torch.dtype, n: int) -> Bounded:
    """Return a sum of ``n`` terms along ``axis``, in any order; each of m = n - 1 additions is in float32 and may round to ``dtype``.

        error = sum(e) + m w / (1 - m w) * S + m * tiny,    S = sum(|v| + e),    w = (1 + 2**-24) (1 + u) - 1,  or 2**-24 in float32

    as in ``bounds.py``: at most m roundings on any path, here each within w. Below the normal range one costs half a subnormal of
    ``dtype`` or a flushed float32: tiny = max(2**-126, that half). If every term is exact and a multiple of q, and S <= q / u, then
    ``dtype`` holds all partial sums (multiples of q up to q * 2**bits) and nothing rounds, given that q is not below its subnormals.
    """
    value, S, inputs = x.value.sum(axis), x.magnitude.sum(axis), x.error.sum(axis)
    (_, largest, subnormal), m = limits(dtype), n - 1
    unit = u(dtype) if dtype == FLOAT32 else (1 + u(FLOAT32)) * (1 + u(dtype)) - 1
    gamma = m * unit / (1 - m * unit) if m * unit < 1 else np.inf
    rounding = gamma * S + np.minimum(S, m * max(TINY, subnormal / 2))
    largest_held = x.unit / u(dtype) if x.unit >= max(TINY, subnormal) else 0.0
    held = (inputs == 0) & (largest_held >= S)
    overflows = (S + rounding > largest) & (m > 0)
    return bounded(value, np.where(overflows, np.inf, inputs + np.where(held, 0.0, rounding)))


def exp_error(distance: Float64Array) -> Float64Array:
    """Return the largest error of the logarithm of a float32 exp(x - y), |x - y| <= ``distance``: (9/8 distance + 2) U.

    Computed as 2**((x - y) log2(e)): the subtraction and the product round (U/2 of the distance each), the constant is off by 0.11 U
    relative; 1.11 < 9/8. PTX promises 2 U for ``ex2.approx.ftz.f32``; expf of CUDA and of SLEEF are better.
    """
    return (1.125 * distance + 2) * U


def relu(x: Bounded) -> Bounded:
    """Return ReLU, max(x, 0): no rounding, and a slope of at most 1; where x < 0 only the part of the interval above 0 counts."""
    return bounded(np.maximum(x.value, 0), np.where(x.value < 0, np.maximum(x.value + x.error, 0), x.error))


def relu_grad(x: Bounded) -> Bounded:
    """Return 1 where x > 0, else 0: exact unless the sign of x is undecided, |v| <= e; then both are right."""
    return Bounded((x.value > 0).astype(np.float64), ((np.abs(x.value) <= x.error) & (x.error > 0)).astype(np.float64))


def sigmoid(x: Float64Array) -> Float64Array:
    """Return 1 / (1 + exp(-x)), without an overflow on the way."""
    small = np.exp(-np.abs(x))
    result: Float64Array = np.where(x >= 0, 1.0, small) / (1 + small)
    return result


def silu(x: Bounded) -> Bounded:
    """Return the activation x sigmoid(x) in float32; of 0 it is exactly 0.

    Bounded: by Taylor's theorem e |silu'(v)| + e**2 / 4, as |silu''| <= 1/2 (at 0), and no more than 1.1 e, as |silu'| <= 1.0998 (at
    2.40); nor, below -2.40, where |silu'| only falls with |x|, than e |silu'(v + e)|.
    Evaluated as x / (1 + exp(-x)) or x * (1 / (1 + exp(-x))): the exponential is off by ``exp_error``, of which 1 - sigmoid(x) gets into
    the sum, the sum by U/2, the quotient by 2 U (``div``), the product by U/2; together (9/8 |x| (1 - sigmoid(x)) + 5) U relative.
    """
    value, end = x.value * sigmoid(x.value), x.value + x.error
    slope = np.minimum(np.abs(silu_slope(x.value)) + x.error / 4, 1.1)
    inputs = x.error * np.where(end < -2.4, np.minimum(slope, np.abs(silu_slope(end))), slope)
    relative = (1.125 * x.magnitude * sigmoid(x.error - x.value) + 5) * U
    return bounded(value, inputs + relative * (np.abs(value) + inputs) + np.minimum(x.magnitude, SIGMOID_FLUSH))


def silu_slope(x: Float64Array) -> Float64Array:
    """Return silu'(x) = s (1 + x (1 - s)), s = sigmoid(x)."""
    return sigmoid(x) * (1 + x * sigmoid(-x))


def silu_curve(x: Float64Array) -> Float64Array:
    """Return silu''(x) = s (1 - s) (2 - x tanh(x / 2)), an even function."""
    return sigmoid(x) * sigmoid(-x) * (2 - x * np.tanh(x / 2))


def silu_grad(x: Bounded) -> Bounded:
    """Return the derivative silu'(x) = s (1 + x (1 - s)) in float32, s = sigmoid(x).

    Bounded: e |silu''(v)| + 0.155 e**2, as |silu'''| <= 0.3082 < 0.31, and no more than e / 2; nor, beyond |x| = 4, where |silu''| only
    falls (from 3.44 on), than e times its value at the near end.
    Evaluated, with t = 1 - s, both at the end of the interval where they are largest, X = |v| + e, and everything in units of U:
    s is off by r = 9/8 X t + 4.5 relative (an error of the exponential counts t times; sum 1/2, quotient 2), 1 - s by s r + t/2,
    x (1 - s) by X s r + X t, one plus that by half of 1 + X t more; times s, itself off by r, and rounded:
    s ((r + 1/2) (1 + X t) + X s r + 1/2 + 3/2 X t). Products of two errors are below what 4.5 has to spare (an exact count: 2.5 + 2 t).
    From x = 18 on, exp(-x) < 2**-25 is lost beside 1, s is 1 / 1, and the result exactly 1; silu' is within x t of that, and the value
    here within 2**-51, as float64 rounds four times: the one place where no larger rounding covers it.
    """
    s, t, X = sigmoid(x.value + x.error), sigmoid(x.error - x.value), x.magnitude
    near = X - 2 * x.error
    curve = np.minimum(np.abs(silu_curve(x.value)) + 0.155 * x.error, 0.5)
    curve = np.where(near > 4, np.minimum(curve, np.abs(silu_curve(near))), curve)
    r = 1.125 * X * t + 4.5
    evaluated = s * ((r + 0.5) * (1 + X * t) + X * s * r + 0.5 + 1.5 * X * t) * U
    evaluated = np.where(x.value - x.error >= 18, X * t + 2.0**-51, evaluated)
    return bounded(silu_slope(x.value), x.error * curve + evaluated + SIGMOID_FLUSH)


def softmax_error(distance: Float64Array, n: int) -> Float64Array:
    """Return the error of the logarithm of a float32 softmax weight, ``distance`` below the largest: (9/8 (distance + ln n) + n + 10) U.

    Numerator: ``exp_error`` and two quotients of 2 U (by the sum over all experts; again by the sum over the selected ones, if these are
    renormalised: the first sum cancels, it is the same number everywhere). Denominator: n roundings of at most U, and the average of its
    terms' errors, exponential and first quotient, weighted by the terms: 4 U + 9/8 U sum_j w_j d_j. Since w_j = exp(-d_j) / s, that
    sum is the entropy of w less ln s, at most ln n, as the largest entry makes s >= 1.

    Beyond a distance of 105 > 150 ln 2 float32 has only 0 left, whatever the error of the argument: this is a flush, which ``softmax``
    counts, and no relative error.
    """
    return exp_error(np.minimum(distance, 105) + math.log(n)) + (n + 8) * U


def softmax_distance(x: Bounded, axis: int) -> Float64Array:
    """Return how far each entry may lie below the largest along ``axis``."""
    largest: Float64Array = (x.value + x.error).max(axis, keepdims=True)
    return largest - (x.value - x.error)


def softmax(x: Bounded, axis: int) -> Bounded:
    """Return exp(x_i) / sum_j exp(x_j) in float32 along ``axis``; or those of a larger axis with the same largest entry, renormalised.

    Bounded: with logits off by at most e_j the weight lies between its values with x_i low and all others high, and the reverse:

        w_i exp(e_i) / (sum_j w_j exp(-e_j) + w_i (exp(e_i) - exp(-e_i)))  and the same with -e

    so the weight of a single entry is 1 whatever its error; where the error of a logit exceeds 300, beyond the range of the formula in
    float64, the weights are anything in [0, 1]. Evaluated: ``softmax_error``. Each exponential and quotient of a term may be flushed,
    2 TINY an entry, and is divided by a sum of probabilities that is at least 1 / N, N the larger axis; N <= 2**16 is assumed.
    """
    exponentials = np.exp(x.value - x.value.max(axis, keepdims=True))
    weights = exponentials / exponentials.sum(axis, keepdims=True)
    widest = x.error.max(axis, keepdims=True)
    n = x.value.shape[axis]
    off = softmax_error(softmax_distance(x, axis), n)

    def end(e: Float64Array) -> Float64Array:
        rest = (weights * np.exp(-e)).sum(axis, keepdims=True)
        result: Float64Array = weights * np.exp(e) / (rest + weights * (np.exp(e) - np.exp(-e)))
        return result

    low, high = np.where(widest > 300, 0.0, end(-x.error)), np.where(widest > 300, 1.0, end(x.error))
    error = np.maximum(high * np.exp(off) - weights, weights - low * np.exp(-off)) + 2.0**17 * TINY * (n + 1)
    return bounded(weights, np.where(np.isinf(widest), np.inf, error))


def violations(got: torch.Tensor, x: Bounded, dtype: torch.dtype) -> BoolArray:
    """Return a mask of wrong results in ``got``, by the same rule as a verdict: see ``bounds.interval`` and ``bounds.outside``."""
    return outside(reals(got), *interval(x.value, x.error, dtype))
