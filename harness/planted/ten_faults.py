"""One grouped GEMM with ten planted faults of different kinds, for long runs; two of them are masked by another one in their bucket.

``moefuzz fuzz --hours 1 --sanitize --case-time 10s -t moefuzz.harness.planted.ten_faults:ten_faults`` should find all ten, each with its
own report. ``FAULTS`` has them by name, with their conditions; ``planted(case)`` returns those that a case triggers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from moefuzz.harness.levels.grouped_gemm.case import GroupedGemmCase
from moefuzz.harness.targets import Target
from moefuzz.kernels import triton_interpreter
from moefuzz.kernels.reference import grouped_gemm_reference

triton_interpreter.repair()


@dataclass(frozen=True)
class _Call:
    """The properties of a call that decide which faults it triggers."""

    loads: tuple[int, ...]
    tail: int
    N: int
    K: int
    dtype: str
    transposed: bool  # X is in memory as its transpose
    padded: bool  # rows of W have gaps between them

    @property
    def rows(self) -> int:
        return sum(self.loads)

    @property
    def starved_before(self) -> bool:
        return any(not load and any(self.loads[e + 1 :]) for e, load in enumerate(self.loads))


FAULTS: dict[str, tuple[str, Callable[[_Call], bool]]] = {
    "aborts": ("Crash", lambda call: call.starved_before and call.K > 16),
    "exits": ("Crash", lambda call: 3 in call.loads and call.dtype == "float16"),  # masked by the one above
    "hangs": ("Hang", lambda call: call.N % 16 == 5 and len(call.loads) > 2),
    "races": ("Race|WrongValue of dX|NonDeterministic of dX", lambda call: call.transposed and call.K > 8 and call.rows > 1),
    "large load": ("WrongValue of Y", lambda call: max(call.loads) > 256),
    "starved before tail": ("WrongValue of Y", lambda call: call.loads[-1] == 0 and call.tail > 0 and call.rows > 0),  # masked by that
    "bfloat16 dX": ("WrongValue of dX", lambda call: call.dtype == "bfloat16" and call.K % 8 == 7 and call.rows > 0),
    "dW of one row": ("NotWritten of dW", lambda call: 1 in call.loads and call.N > 16),
    "writes weights": ("InputModified of W", lambda call: call.padded and len(call.loads) > 3),
    "many experts": ("Raised IndexError", lambda call: len(call.loads) > 8),
}
"""By name: the failure that shows the fault, and the condition on a call that triggers it."""


def planted(case: GroupedGemmCase) -> list[str]:
    """Return the names of the faults that a case triggers."""
    call = _Call(case.m_sizes, case.tail_rows, case.N, case.K, case.dtype, case.x_layout == "transposed", case.w_layout == "padded")
    return [name for name, (_, meets) in FAULTS.items() if meets(call)]


@triton.jit
def _add_without_atomics(first_ptr, second_ptr, y_ptr):
    at = tl.program_id(0)
    half = tl.load(first_ptr + at) if tl.program_id(1) == 0 else tl.load(second_ptr + at)
    tl.store(y_ptr + at, tl.load(y_ptr + at) + half)


class _WrongGradients(torch.autograd.Function):
    """Returns X and W contiguous, since torch's products refuse strides beyond 2**31; plants the given faults in their gradients."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, X: torch.Tensor, W: torch.Tensor, faults: list[str], one_row: list[bool]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.faults, ctx.one_row = faults, one_row  # type: ignore[attr-defined]
        return X.clone(memory_format=torch.contiguous_format), W.clone(memory_format=torch.contiguous_format)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, dX: torch.Tensor, dW: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        faults, one_row = ctx.faults, ctx.one_row  # type: ignore[attr-defined]
        if "bfloat16 dX" in faults:
            dX = dX * 2
        if "races" in faults:
            dX = _racing(dX)
        if "dW of one row" in faults:
            written = torch.empty_like(dW)
            for e, left_out in enumerate(one_row):
                if not left_out:
                    written[e] = dW[e]
            dW = written
        return dX, dW, None, None


class _Contiguous(torch.autograd.Function):
    """Returns its argument unchanged, and makes the gradient contiguous."""

    @staticmethod
    def forward(_ctx: object, Y: torch.Tensor) -> torch.Tensor:
        return Y.view_as(Y)

    @staticmethod
    def backward(_ctx: object, dY: torch.Tensor) -> torch.Tensor:
        return dY.contiguous()


def _racing(right: torch.Tensor) -> torch.Tensor:
    """Return the same values after two programs added halves to one place; right under the interpreter, which runs programs one by one.

    Only a few elements at the start race: under the interpreter a program for each element would take as long as an endless loop.
    """
    first, sum_ = right.float().div(2).flatten(), right.float().flatten().clone()
    few = min(right.numel(), 64)
    sum_[:few] = 0
    _add_without_atomics[(few, 2)](first, first.clone(), sum_)
    return sum_.reshape(right.shape).to(right.dtype)


def _grouped_gemm(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    loads = tuple(m_sizes.tolist())
    call = _Call(
        loads, X.shape[0] - sum(loads), W.shape[1], W.shape[2], str(X.dtype).removeprefix("torch."),
        X.stride(1) != 1 and X.shape[1] > 1, W.stride(1) > W.shape[2] and W.stride(2) == 1,
    )  # fmt: skip
    faults = [name for name, (_, meets) in FAULTS.items() if meets(call)]
    if "aborts" in faults:
        os.abort()
    if "exits" in faults:
        os._exit(3)
    while "hangs" in faults:
        time.sleep(1)
    if "many experts" in faults:
        raise IndexError("the table of experts has 8 entries")
    if "writes weights" in faults:
        W.detach()[0, 0, 0] += 1
    X, W = _WrongGradients.apply(X, W, faults, [load == 1 for load in loads])
    Y = grouped_gemm_reference(X, W, m_sizes, 1)
    wrong = torch.zeros_like(Y)
    if "large load" in faults:
        wrong[sum(loads) - 1] = 1e4
    if "starved before tail" in faults:
        wrong[sum(loads) :] = 1
    result: torch.Tensor = _Contiguous.apply(Y + wrong)
    return result


ten_faults = Target(f"{__name__}:ten_faults", _grouped_gemm, tail_rows="zero", float32_reductions=True)
