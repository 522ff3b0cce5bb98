"""A claim: one tensor of a result and the interval in which each of its elements must lie. Judging it gives a share or a failure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from moefuzz.harness.base.case import Case
from moefuzz.harness.failures import NON_FINITE, WRONG_SHAPE, WRONG_VALUE, Failure
from moefuzz.harness.failures.facts import Mismatch

from .bounds import BLOCK, BoolArray, Float64Array, interval, outside, reals, ulp
from .segments import Int64Array


@dataclass(frozen=True)
class ElementwiseError:
    """A tensor with its reference, bound and interval, and a mask of wrong elements; experts' rows come first, in sorted order."""

    got: Float64Array
    R: Float64Array
    b: Float64Array
    low: Float64Array
    high: Float64Array
    wrong: BoolArray
    dtype: torch.dtype  # of ``got``

    def error(self) -> Float64Array:
        """Return |got - R|, infinite where ``got`` is wrong and not finite."""
        with np.errstate(invalid="ignore"):
            return np.where(self.wrong & ~np.isfinite(self.got), np.inf, np.abs(self.got - self.R))

    def share(self) -> Float64Array:
        """Return the share of its bound that each element uses: above 1 where it is wrong, infinite where the bound is 0 too."""
        shares = np.where(self.wrong, np.inf, 0.0)
        bounded = self._bounded()
        shares[bounded] = self._shares(bounded)
        return shares

    def largest_share(self) -> float:
        """Return the largest share of the bound that explains ``got``: 0 where rounding the reference explains it."""
        return float(self._shares(self._bounded()).max(initial=0.0))

    def _bounded(self) -> BoolArray:
        bounded: BoolArray = (self.b > 0) & np.isfinite(self.got) & np.isfinite(self.R)
        return bounded

    def _shares(self, of: BoolArray) -> Float64Array:
        """Return the shares of some elements: the distance of R from the numbers that round to ``got``, those within half an ulp."""
        value = self.got[of]
        beyond: Float64Array = np.maximum(np.abs(value - self.R[of]) - ulp(value, self.dtype) / 2, 0) / self.b[of]
        return beyond


@dataclass(frozen=True)
class Claim:
    """The claim that ``got`` has ``shape`` and lies within ``bound`` of ``reference``, in ``dtype`` or else in that of the case.

    Where experts own the rows, ``reference`` holds those rows in sorted order and ``slots`` says where ``got`` has them (in place, if
    None); every other row of ``got`` must be zero.
    """

    tensor: str
    axes: tuple[str, ...]
    got: torch.Tensor
    shape: tuple[int, ...]
    reference: Float64Array
    bound: Float64Array  # of the shape of the reference
    blocks: tuple[int | None, ...]  # tile size along each axis
    m_sizes: tuple[int, ...] | None = None
    slots: Int64Array | None = None
    dtype: torch.dtype | None = None

    def rounded_to(self, dtype: torch.dtype) -> Claim:
        """Return the claim for ``got`` rounded to a narrower dtype, if it is float32; a tensor of neither dtype stays wrong."""
        wide = isinstance(self.got, torch.Tensor) and self.got.dtype is torch.float32
        return replace(self, got=self.got.to(dtype) if wide else self.got, dtype=dtype)

    def judge(self, case: Case, target: str) -> float:
        """Return the largest share of a bound that was used, beyond the rounding of the output. Raises a Failure."""
        __tracebackhide__ = True
        dtype = self.dtype or getattr(torch, case.dtype)
        if not self.fits(dtype):
            raise WRONG_SHAPE[self.tensor](case, target, f"{self.tensor} must be {dtype} of shape {self.shape}, got {_describe(self.got)}")
        share = self._largest_share(dtype)
        if share is not None:
            return share
        seen = self.compared(dtype)
        infinite = seen.wrong & ~np.isfinite(seen.got) & np.isfinite(seen.low) & np.isfinite(seen.high)
        kind = NON_FINITE if infinite.any() else WRONG_VALUE
        mismatch = self._mismatch(infinite if infinite.any() else seen.wrong, seen)
        raise kind[self.tensor](case, target, f"{self.tensor} is {'not finite' if infinite.any() else 'wrong'}", mismatch)

    def fits(self, dtype: torch.dtype) -> bool:
        """Return whether ``got`` is a tensor of the right shape and ``dtype`` that stores its numbers: neither sparse nor meta."""
        got = self.got
        return isinstance(got, torch.Tensor) and _holds_numbers(got) and tuple(got.shape) == self.shape and got.dtype == dtype

    @np.errstate(all="ignore")
    def compared(self, dtype: torch.dtype) -> ElementwiseError:
        """Compare ``got``, which has the right shape and ``dtype``, with the reference."""
        return _compared(*self._in_sorted_order(reals(self.got)), dtype)

    @np.errstate(all="ignore")
    def _largest_share(self, dtype: torch.dtype) -> float | None:
        """Return the largest share of all elements, None where one is wrong. Each block stays in the cache for all operations."""
        got, R, b = self._in_sorted_order(reals(self.got))
        largest, step = 0.0, max(1, BLOCK * len(R) // max(R.size, 1))
        for start in range(0, len(R), step):
            rows = slice(start, start + step)
            seen = _compared(got[rows], R[rows], b[rows], dtype)
            if seen.wrong.any():
                return None
            largest = max(largest, seen.largest_share())
        return largest

    def _in_sorted_order(self, got: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Return got, reference and bound with the experts' rows first, in sorted order, then the rows without an expert."""
        if self.m_sizes is None:
            return got, self.reference, self.bound
        total, rows = self.reference.shape[0], got.shape[0]
        if self.slots is not None:
            nobodys = np.ones(rows, bool)
            nobodys[self.slots] = False
            got = np.concatenate([got[self.slots], got[nobodys]])
        if rows == total:
            return got, self.reference, self.bound
        zeros = np.zeros((rows - total, *self.reference.shape[1:]))
        return got, np.concatenate([self.reference, zeros]), np.concatenate([self.bound, zeros])

    @np.errstate(invalid="ignore")
    def _mismatch(self, wrong: BoolArray, seen: ElementwiseError) -> Mismatch:
        excess = np.maximum(seen.low - seen.got, seen.got - seen.high)
        excess = np.where(wrong, np.nan_to_num(excess, nan=np.inf, posinf=np.inf), -1.0)
        worst = tuple(int(i) for i in np.unravel_index(excess.argmax(), excess.shape))
        where = np.argwhere(wrong)
        box = [(int(where[:, axis].min()), int(where[:, axis].max())) for axis in range(wrong.ndim)]
        axes = self.axes
        if self.m_sizes is not None:
            experts, rows = zip(*(self._place(int(row)) for row in where[:, 0]), strict=True)
            axes = ("expert", "row in expert", *axes[1:])
            expert, row = self._place(worst[0])
            box = [(min(experts), max(experts)), (min(rows), max(rows)), *box[1:]]
            place, blocks = (expert, row, *worst[1:]), (None, *self.blocks)
        else:
            place, blocks = worst, self.blocks
        tiles = tuple(None if block is None else (lo // block, hi // block) for (lo, hi), block in zip(box, blocks, strict=True))
        at = [float(t[worst]) for t in (seen.got, seen.R, seen.low, seen.high, seen.b)]
        return Mismatch(axes, place, at[0], at[1], at[2], at[3], at[4], int(seen.wrong.sum()), wrong.size, tuple(box), tiles)

    def _place(self, row: int) -> tuple[int, int]:
        """Return (expert, row in expert) of a sorted row; expert E stands for rows without an expert."""
        assert self.m_sizes is not None
        for expert, size in enumerate(self.m_sizes):
            if row < size:
                return expert, row
            row -= size
        return len(self.m_sizes), row


def _compared(got: Float64Array, R: Float64Array, b: Float64Array, dtype: torch.dtype) -> ElementwiseError:
    low, high = interval(R, b, dtype)
    return ElementwiseError(got, R, b, low, high, outside(got, low, high), dtype)


def judge_all(claims: Sequence[Claim], case: Case, target: str, where: str = "") -> dict[str, float]:
    """Judge claims in order, and return the shares by tensor. The first broken claim raises a Failure; its finding ends with ``where``."""
    __tracebackhide__ = True
    shares = {}
    try:
        for claim in claims:  # a comprehension would have a frame of its own in the traceback
            shares[claim.tensor] = claim.judge(case, target)
    except Failure as failure:
        failure.finding += where
        raise
    return shares


def _describe(got: object) -> str:
    if not isinstance(got, torch.Tensor):
        return type(got).__name__
    kind = "" if _holds_numbers(got) else " on the meta device" if got.is_meta else f" in the layout {got.layout}"
    return f"{got.dtype} of shape {tuple(got.shape)}{kind}"


def _holds_numbers(tensor: torch.Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_meta
