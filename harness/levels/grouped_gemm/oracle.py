"""The oracle of the ``grouped_gemm`` level: for Y, dX and dW of a result, the reference and the bound within which each element must lie.

All three are judged in sorted order, by expert and row within it, whatever the permutation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from moefuzz.harness.numerics.bounds import EXACT, TINY, Float64Array, accumulation_error, declared_error, is_tf32, quantum, reals
from moefuzz.harness.numerics.claims import Claim
from moefuzz.harness.numerics.segments import Int64Array, segment_matmul, segment_outer
from moefuzz.harness.targets import Target

from .problem import GroupedGemmProblem
from .run import GroupedGemmResult


@np.errstate(all="ignore")
def grouped_gemm_claims(problem: GroupedGemmProblem, result: GroupedGemmResult, target: Target) -> list[Claim]:
    """Return the claims on Y and on each gradient that the case asks for."""
    tiles, m_sizes = target.tiles(problem.case), problem.case.m_sizes
    blocks = (None, None, None) if tiles is None else (tiles.block_m, tiles.block_n, tiles.block_k)
    view = _Sorted.of(problem, target)
    claims = [_y_claim(problem, view, result.Y, blocks)]
    if result.dX is not None:
        claims.append(_dx_claim(problem, view, result.dX, blocks))
    if result.dW is not None:
        depth = np.array(m_sizes, np.float64)[:, None, None]
        R, bound = view.contracted(view.dy, view.x, lambda dy, x: segment_outer(dy, x, m_sizes), depth)
        claims.append(Claim("dW", ("expert", "n", "k"), result.dW, tuple(problem.W.shape), R, bound, (None, *blocks[1:])))
    return claims


_Blocks = tuple[int | None, int | None, int | None]  # along rows, N and K


@dataclass(frozen=True)
class _Operand:
    """The numbers of a tensor in float64, with properties that more than one pass uses."""

    numbers: Float64Array

    @cached_property
    def sizes(self) -> Float64Array:
        return np.abs(self.numbers)

    @cached_property
    def quantum(self) -> float:
        return quantum(self.numbers)

    @cached_property
    def largest(self) -> float:
        return float(max(self.numbers.max(initial=0.0), -self.numbers.min(initial=0.0)))

    @cached_property
    def is_tf32(self) -> bool:
        return is_tf32(self.numbers)


_ONE = _Operand(np.ones(()))


@dataclass(frozen=True)
class _Sorted:
    """The rows of a problem that experts own, in sorted order."""

    x: _Operand  # [total, K]
    w: _Operand  # [E, N, K]
    dy: _Operand  # [total, N]
    slots: Int64Array | None  # [total], the flat slot of each row where there are gather_indices
    dtype: torch.dtype
    target: Target

    def contracted(
        self,
        a: _Operand,
        b: _Operand,
        product: Callable[[Float64Array, Float64Array], Float64Array],
        depth: Float64Array | int,
        further: _Operand = _ONE,
    ) -> tuple[Float64Array, Float64Array]:
        """Return a contraction of two operands and its error bound; ``further`` is a further factor, if ``product`` has one.

        Where ``depth`` products of the largest numbers stay below what float32 holds of their quantum, so does every sum of |A||B|. Then
        every result is exact, and the sum need not be computed.
        """
        R = product(a.numbers, b.numbers)
        unit = a.quantum * b.quantum * further.quantum
        tf32 = self.target.tf32 and self.dtype is torch.float32 and not (a.is_tf32 and b.is_tf32)
        declared = self.target.partial_sums > 1 or tf32
        if not declared and unit >= TINY and np.max(depth) * a.largest * b.largest * further.largest <= EXACT * unit:
            return R, np.zeros_like(R)
        S = product(a.sizes, b.sizes)
        error = accumulation_error(S, depth, unit)
        if declared:
            error += declared_error(S, unit, self.dtype, partial_sums=self.target.partial_sums, tf32=tf32)
        return R, error

    @classmethod
    def of(cls, problem: GroupedGemmProblem, target: Target) -> _Sorted:
        case, total = problem.case, sum(problem.case.m_sizes)
        slots = None if problem.gather_indices is None else problem.gather_indices[:total].long().numpy()
        x_rows = slots // (case.topk if case.is_first_gemm else 1) if case.permute == "x" and slots is not None else slice(0, total)
        dy_rows = slots if case.permute == "y" and slots is not None else slice(0, total)
        x, dy = reals(problem.X)[x_rows], reals(problem.dY)[dy_rows]
        return cls(_Operand(x), _Operand(reals(problem.W)), _Operand(dy), slots, getattr(torch, case.dtype), target)


def _y_claim(problem: GroupedGemmProblem, view: _Sorted, Y: torch.Tensor, blocks: _Blocks) -> Claim:
    case = problem.case
    depth, p = case.K, _ONE
    if problem.topk_weights is not None and view.slots is not None:
        depth, p = depth + 1, _Operand(reals(problem.topk_weights).reshape(-1, 1)[view.slots])  # the epilogue's product rounds once more

    def product(x: Float64Array, w: Float64Array) -> Float64Array:
        y = segment_matmul(x, w.swapaxes(1, 2), case.m_sizes)
        return y if p is _ONE else y * p.numbers

    R, bound = view.contracted(view.x, view.w, product, depth, p)
    slots = view.slots if case.permute == "y" else None
    return Claim("Y", ("row", "column"), Y, (case.M, case.N), R, bound, blocks[:2], case.m_sizes, slots)


def _dx_claim(problem: GroupedGemmProblem, view: _Sorted, dX: torch.Tensor, blocks: _Blocks) -> Claim:
    case = problem.case
    if not case.tokens_in:
        R, bound = view.contracted(view.dy, view.w, lambda dy, w: segment_matmul(dy, w, case.m_sizes), case.N)
        slots = view.slots if case.permute == "x" else None
        return Claim("dX", ("row", "column"), dX, tuple(problem.X.shape), R, bound, blocks[::2], case.m_sizes, slots)
    T = problem.X.shape[0]

    def by_token(dy: Float64Array, w: Float64Array) -> Float64Array:
        by_slot = np.zeros((T * case.topk, case.K))
        by_slot[view.slots] = segment_matmul(dy, w, case.m_sizes)
        summed: Float64Array = by_slot.reshape(T, case.topk, case.K).sum(1)
        return summed

    R, bound = view.contracted(view.dy, view.w, by_token, case.topk * case.N)
    return Claim("dX", ("token", "column"), dX, (T, case.K), R, bound, (None, blocks[2]))
