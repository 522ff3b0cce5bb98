"""A claim: one tensor of a result and the interval that each of its elements must lie in. Judging it gives a share or a failure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from .bounds import interval, outside, ulp
from .cases import Case
from .failures import NON_FINITE, WRONG_SHAPE, WRONG_VALUE, Failure, Mismatch


@dataclass(frozen=True)
class Compared:
    """A tensor beside its reference, bound and interval, experts' rows first and in sorted order, and where it is wrong."""

    got: torch.Tensor
    R: torch.Tensor
    b: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    wrong: torch.Tensor  # bool

    def error(self) -> torch.Tensor:
        """|got - R| in float64, infinite where ``got`` is not finite and wrong."""
        return torch.where(self.wrong & ~torch.isfinite(self.got), torch.inf, (self.got.double() - self.R).abs())

    def share(self) -> torch.Tensor:
        """The share of the bound that each element needs: above 1 where it is wrong, infinite where it is and the bound is 0."""
        bounded = (self.b > 0) & torch.isfinite(self.got) & torch.isfinite(self.R)
        shares = torch.where(self.wrong, torch.inf, torch.zeros_like(self.R))
        shares[bounded] = _shares(self.got[bounded], self.R[bounded], self.b[bounded])
        return shares


@dataclass(frozen=True)
class Claim:
    """``got`` must have ``shape`` and lie within ``bound`` of ``reference``, in ``dtype`` or else in the case's.

    Where experts own the rows, ``reference`` holds those rows in sorted order and ``slots`` says where ``got`` has them (in place, if
    None); every other row of ``got`` must be zero.
    """

    tensor: str
    axes: tuple[str, ...]
    got: torch.Tensor
    shape: tuple[int, ...]
    reference: torch.Tensor  # float64
    bound: torch.Tensor  # float64, of reference's shape
    blocks: tuple[int | None, ...]  # tile size along each axis
    m_sizes: tuple[int, ...] | None = None
    slots: torch.Tensor | None = None
    dtype: torch.dtype | None = None

    def rounded_to(self, dtype: torch.dtype) -> Claim:
        """The same of ``got`` rounded to a narrower dtype, if it is float32; what is of neither dtype stays wrong."""
        wide = isinstance(self.got, torch.Tensor) and self.got.dtype is torch.float32
        return replace(self, got=self.got.to(dtype) if wide else self.got, dtype=dtype)

    def judge(self, case: Case, target: str) -> float:
        """The largest share of a bound that was used, beyond the output's own rounding. Raises a Failure."""
        __tracebackhide__ = True
        dtype = self.dtype or getattr(torch, case.dtype)
        if not isinstance(self.got, torch.Tensor) or tuple(self.got.shape) != self.shape or self.got.dtype != dtype:
            raise WRONG_SHAPE[self.tensor](case, target, f"{self.tensor} must be {dtype} of shape {self.shape}, got {_describe(self.got)}")
        seen = self.compared(dtype)
        if seen.wrong.any():
            infinite = seen.wrong & ~torch.isfinite(seen.got) & torch.isfinite(seen.low) & torch.isfinite(seen.high)
            kind = NON_FINITE if infinite.any() else WRONG_VALUE
            mismatch = self._mismatch(infinite if infinite.any() else seen.wrong, seen)
            raise kind[self.tensor](case, target, f"{self.tensor} is {'not finite' if infinite.any() else 'wrong'}", mismatch)
        return share_of_bound(seen.got, seen.R, seen.b)

    def compared(self, dtype: torch.dtype) -> Compared:
        """``got`` of the right shape and ``dtype`` beside what is right."""
        got, R, b = self._in_sorted_order(self.got.detach().cpu())
        low, high = interval(R, b, dtype)
        return Compared(got, R, b, low, high, outside(got, low, high))

    def _in_sorted_order(self, got: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """got, reference and bound with the experts' rows first, in sorted order, and the unowned rows behind them."""
        if self.m_sizes is None:
            return got, self.reference, self.bound
        total, rows = self.reference.shape[0], got.shape[0]
        if self.slots is not None:
            owned = torch.zeros(rows, dtype=torch.bool).index_fill_(0, self.slots, True)
            got = torch.cat([got[self.slots], got[~owned]])
        pad = (0, 0, 0, rows - total)
        return got, torch.nn.functional.pad(self.reference, pad), torch.nn.functional.pad(self.bound, pad)

    def _mismatch(self, wrong: torch.Tensor, seen: Compared) -> Mismatch:
        excess = torch.maximum(seen.low - seen.got.double(), seen.got.double() - seen.high)
        excess = torch.where(wrong, torch.nan_to_num(excess, nan=torch.inf, posinf=torch.inf), -1.0)
        worst = tuple(int(i) for i in torch.unravel_index(excess.argmax(), excess.shape))
        where = wrong.nonzero()
        box = [(int(where[:, axis].min()), int(where[:, axis].max())) for axis in range(wrong.dim())]
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
        return Mismatch(axes, place, at[0], at[1], at[2], at[3], at[4], int(wrong.sum()), wrong.numel(), tuple(box), tiles)

    def _place(self, row: int) -> tuple[int, int]:
        """(expert, row in expert) of a sorted row; expert E stands for the rows that nobody owns."""
        assert self.m_sizes is not None
        for expert, size in enumerate(self.m_sizes):
            if row < size:
                return expert, row
            row -= size
        return len(self.m_sizes), row


def share_of_bound(got: torch.Tensor, R: torch.Tensor, b: torch.Tensor) -> float:
    """The largest share of the bound b that is needed to explain ``got``: 0 where rounding the reference alone does.

    ``got`` is the rounding of every number within half a unit in its last place, so the accumulation was off by at least the distance
    from R to that range.
    """
    bounded = (b > 0) & torch.isfinite(got) & torch.isfinite(R)
    return float(_shares(got[bounded], R[bounded], b[bounded]).max()) if bounded.any() else 0.0


def _shares(got: torch.Tensor, R: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    value = got.double()
    return ((value - R).abs() - ulp(value, got.dtype) / 2).clamp_min(0) / b


def judge_all(claims: Sequence[Claim], case: Case, target: str, where: str = "") -> dict[str, float]:
    """Judge claims in order; the first that is broken raises, and its finding ends with ``where``. The shares by tensor."""
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
    return f"{got.dtype} of shape {tuple(got.shape)}" if isinstance(got, torch.Tensor) else type(got).__name__
