"""The verdict at the ``grouped_gemm`` level: run a target on a problem and say, for Y, dX and dW, between which results it must lie.

All three are judged in sorted order: row r of expert e, whatever the permutation did with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from .bounds import Reals, accumulation_error, declared_error, is_tf32, quantum, reals
from .calls import call_in_fences
from .claims import Claim
from .failures import GRAD_MISSING
from .problems import GroupedGemmProblem
from .segments import Whole, segment_matmul, segment_outer
from .targets import CONFIGS, Target


@dataclass(frozen=True)
class GroupedGemmResult:
    """What a target returned: Y, and the gradients that the case asks for."""

    Y: torch.Tensor  # [M, N]
    dX: torch.Tensor | None  # the shape of X
    dW: torch.Tensor | None  # [E, N, K]


def run_grouped_gemm(
    problem: GroupedGemmProblem, target: Target, device: torch.device, *, poison: str = "nan", backwards: int = 1
) -> GroupedGemmResult:
    """Call the target and its backward pass, in memory that tells on it.

    ``backwards`` passes run on one graph and add to one gradient. Raises the failures Raised, WroteOutside, ReadOutside, InputModified
    and GradMissing.
    """
    __tracebackhide__ = True
    case, rows = problem.case, sum(problem.case.m_sizes)
    placed, arena = problem.placed(device)
    X = placed.X.detach().requires_grad_("X" in case.grads)
    W = placed.W.detach().requires_grad_("W" in case.grads)

    def run() -> tuple[torch.Tensor, bool]:
        Y = target.function(X, W, placed.m_sizes, **keywords_of(placed, target))
        returned = isinstance(Y, torch.Tensor) and Y.shape == placed.dY.shape
        attached = returned and (rows > 0 or Y.requires_grad)  # without rows nothing need be attached to a graph
        for further in reversed(range(backwards if case.grads and attached else 0)):
            Y.backward(placed.dY, retain_graph=further > 0)
        return Y, returned

    Y, returned = call_in_fences(run, case, target, device, poison=poison, arena=arena)
    for name, tensor in (("X", X), ("W", W)):
        if name in case.grads and tensor.grad is None and returned and rows:
            raise GRAD_MISSING[f"d{name}"](case, target.name, f"left {name}.grad empty although {name} requires grad")
    return GroupedGemmResult(Y, X.grad, W.grad)


def grouped_gemm_tensors(_: GroupedGemmProblem, result: GroupedGemmResult) -> dict[str, torch.Tensor]:
    """Y, and the gradients that there are."""
    named = {"Y": result.Y, "dX": result.dX, "dW": result.dW}
    return {name: tensor for name, tensor in named.items() if tensor is not None}


def keywords_of(problem: GroupedGemmProblem, target: Target) -> dict[str, object]:
    """The keywords of the case that the target takes; those at their default are left out where they say nothing."""
    case = problem.case
    said: dict[str, object] = {}
    if "topk" in target.keywords:
        said |= {"topk": case.topk}
    if case.permute != "none":
        said |= {f"permute_{case.permute}": True}
        said |= {"is_first_gemm": case.is_first_gemm} if "is_first_gemm" in target.keywords else {}
    if case.fuse_mul_post:
        said |= {"fuse_mul_post": True, "topk_weights": problem.topk_weights}
    if problem.gather_indices is not None:
        said |= {"gather_indices": problem.gather_indices}
    if target.configurable:
        said |= zip(CONFIGS, case.configs, strict=True)
    return said


@np.errstate(all="ignore")
def grouped_gemm_claims(problem: GroupedGemmProblem, result: GroupedGemmResult, target: Target) -> list[Claim]:
    """What must hold for Y and for each gradient that was asked for."""
    tiles, m_sizes = target.tiles(problem.case), problem.case.m_sizes
    blocks = (None, None, None) if tiles is None else (tiles.block_m, tiles.block_n, tiles.block_k)
    view = _Sorted.of(problem, target)
    claims = [_y_claim(problem, view, result.Y, blocks)]
    if result.dX is not None:
        claims.append(_dx_claim(problem, view, result.dX, blocks))
    if result.dW is not None:
        S = segment_outer(np.abs(view.dy), np.abs(view.x), m_sizes)
        bound = view.error(S, np.array(m_sizes, np.float64)[:, None, None], "dy", "x")
        R = segment_outer(view.dy, view.x, m_sizes)
        claims.append(Claim("dW", ("expert", "n", "k"), result.dW, tuple(problem.W.shape), R, bound, (None, *blocks[1:])))
    return claims


_Blocks = tuple[int | None, int | None, int | None]  # along rows, N and K


@dataclass(frozen=True)
class _Sorted:
    """The problem's rows that experts own, in sorted order and float64."""

    x: Reals  # [total, K]
    w: Reals  # [E, N, K]
    dy: Reals  # [total, N]
    slots: Whole | None  # [total], the flat slot of each row where there are gather_indices
    dtype: torch.dtype
    target: Target

    @cached_property
    def quanta(self) -> dict[str, float]:
        """The quantum of each operand."""
        return {name: quantum(getattr(self, name)) for name in ("x", "w", "dy")}

    def error(self, S: Reals, depth: Reals | int, a: str, b: str, further: float = 1.0) -> Reals:
        """By how much a contraction of two operands, and a factor whose quantum is ``further``, may be off."""
        unit = self.quanta[a] * self.quanta[b] * further
        tf32 = self.target.tf32 and self.dtype is torch.float32 and not (is_tf32(getattr(self, a)) and is_tf32(getattr(self, b)))
        error = accumulation_error(S, depth, unit)
        if self.target.partial_sums > 1 or tf32:
            error += declared_error(S, unit, self.dtype, partial_sums=self.target.partial_sums, tf32=tf32)
        return error

    @classmethod
    def of(cls, problem: GroupedGemmProblem, target: Target) -> _Sorted:
        case, total = problem.case, sum(problem.case.m_sizes)
        slots = None if problem.gather_indices is None else problem.gather_indices[:total].long().numpy()
        x_rows = slots // (case.topk if case.is_first_gemm else 1) if case.permute == "x" and slots is not None else slice(0, total)
        dy_rows = slots if case.permute == "y" and slots is not None else slice(0, total)
        x, dy = reals(problem.X)[x_rows], reals(problem.dY)[dy_rows]
        return cls(x, reals(problem.W), dy, slots, getattr(torch, case.dtype), target)


def _y_claim(problem: GroupedGemmProblem, view: _Sorted, Y: torch.Tensor, blocks: _Blocks) -> Claim:
    case = problem.case
    wt = view.w.swapaxes(1, 2)
    R, S = segment_matmul(view.x, wt, case.m_sizes), segment_matmul(np.abs(view.x), np.abs(wt), case.m_sizes)
    depth, further = case.K, 1.0
    if problem.topk_weights is not None and view.slots is not None:
        p = reals(problem.topk_weights).reshape(-1, 1)[view.slots]
        R, S, depth, further = R * p, S * p, depth + 1, quantum(p)  # the epilogue's product rounds once more
    slots = view.slots if case.permute == "y" else None
    bound = view.error(S, depth, "x", "w", further)
    return Claim("Y", ("row", "column"), Y, (case.M, case.N), R, bound, blocks[:2], case.m_sizes, slots)


def _dx_claim(problem: GroupedGemmProblem, view: _Sorted, dX: torch.Tensor, blocks: _Blocks) -> Claim:
    case = problem.case
    R, S = segment_matmul(view.dy, view.w, case.m_sizes), segment_matmul(np.abs(view.dy), np.abs(view.w), case.m_sizes)
    if not case.tokens_in:
        slots = view.slots if case.permute == "x" else None
        bound = view.error(S, case.N, "dy", "w")
        return Claim("dX", ("row", "column"), dX, tuple(problem.X.shape), R, bound, blocks[::2], case.m_sizes, slots)
    assert view.slots is not None
    T = problem.X.shape[0]
    by_slot = np.zeros((2, T * case.topk, case.K))
    by_slot[:, view.slots] = R, S
    by_token = by_slot.reshape(2, T, case.topk, case.K).sum(2)
    bound = view.error(by_token[1], case.topk * case.N, "dy", "w")
    return Claim("dX", ("token", "column"), dX, (T, case.K), by_token[0], bound, (None, blocks[2]))
