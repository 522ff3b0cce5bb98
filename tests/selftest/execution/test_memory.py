"""Memory that tells: each way of misusing it is a failure of its own kind, and what is allowed raises nothing."""

from __future__ import annotations

import ctypes
import itertools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from moefuzz.harness.base.device import device
from moefuzz.harness.execution.allocations import Allocations
from moefuzz.harness.execution.arena import GAPS, Arena
from moefuzz.harness.failures import Failure
from moefuzz.harness.levels.cases import GroupedGemmCase
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.check import failure_of
from moefuzz.kernels.reference import grouped_gemm_reference

Change = Callable[[str, Any], object]
CPU = torch.device("cpu")
CASE = GroupedGemmCase(m_sizes=(2, 0, 3), N=5, K=4, x_layout="padded")


class Reference(torch.autograd.Function):
    """The torch twin, with a change of its output or gradients."""

    @staticmethod
    def forward(ctx: Any, X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor, change: Change) -> torch.Tensor:
        ctx.save_for_backward(X, W, m_sizes)
        ctx.change = change
        Y = X.new_empty(len(X), W.shape[1])
        Y.copy_(grouped_gemm_reference(X, W, m_sizes, 1))
        change("forward", (X, W, m_sizes, Y))
        return Y

    @staticmethod
    def backward(ctx: Any, dY: torch.Tensor) -> tuple[Any, ...]:
        X, W, m_sizes = ctx.saved_tensors
        with torch.enable_grad():
            x, w = X.detach().requires_grad_(), W.detach().requires_grad_()
            dX, dW = torch.autograd.grad(grouped_gemm_reference(x, w, m_sizes, 1), (x, w), dY)
        ctx.change("backward", (dX, dW, dY))
        return dX, dW, None, None


def failure(change: Change, case: GroupedGemmCase = CASE) -> Failure | None:
    """The failure of the twin with a change."""
    return failure_of(case, Target("changed", lambda X, W, m_sizes: Reference.apply(X, W, m_sizes, change)))  # type: ignore[no-untyped-call]


def found(change: Change, case: GroupedGemmCase = CASE) -> str:
    """Its kind."""
    wrong = failure(change, case)
    return "nothing" if wrong is None else type(wrong).__name__


def store(tensor: torch.Tensor, element: int) -> None:
    """A stray store, so many elements from the start of a tensor, as a kernel makes it: torch does not see it."""
    ctypes.memset(tensor.data_ptr() + element * tensor.element_size(), 1, tensor.element_size())


CHANGES: dict[str, tuple[str, Callable[[Any], object]]] = {
    "nothing": ("forward", lambda t: None),
    "WroteOutside behind Y": ("forward", lambda t: store(t[3], t[3].numel())),
    "WroteOutside before Y": ("forward", lambda t: store(t[3], -1)),
    "WroteOutside behind W": ("forward", lambda t: store(t[1], t[1].numel())),
    "WroteOutside in a stride gap of X": ("forward", lambda t: store(t[0], 5)),
    "InputModified_X": ("forward", lambda t: t[0][1, 1:2].mul_(2)),
    "InputModified_W": ("forward", lambda t: t[1][1].fill_(0)),
    "InputModified_m_sizes": ("forward", lambda t: t[2][0:1].fill_(1)),
    "InputModified_dY": ("backward", lambda t: t[2].zero_()),
    "NotWritten_Y": ("forward", lambda t: t[3][2:4].copy_(t[3].new_empty(2, 5))),
    "NonFinite_Y": ("forward", lambda t: t[3][2].fill_(torch.nan)),
    "NotWritten_dW": ("backward", lambda t: t[1][1].copy_(t[1].new_empty(5, 4))),
    "WrongValue_dX": ("backward", lambda t: t[0].zero_()),
}


by_address = pytest.mark.skipif(device().type == "cuda", reason="stray stores are made by address, on a CPU")


@pytest.mark.parametrize("name", [pytest.param(name, marks=by_address if "WroteOutside" in name else ()) for name in CHANGES])
def test_each_misuse_is_found_as_what_it_is(name: str) -> None:
    where, change = CHANGES[name]
    assert found(lambda stage, tensors: change(tensors) if stage == where else None) == name.split(maxsplit=1)[0]


STORES = {
    "4 bytes behind an allocation of torch.float32, shape (5, 5)": lambda t: store(t[3], 26),
    "in a stride gap of X": lambda t: store(t[0], 5),
}


@by_address
@pytest.mark.parametrize("where", STORES)
def test_a_store_outside_says_where(where: str) -> None:
    assert f"wrote outside: {where}" in str(failure(lambda stage, t: STORES[where](t) if stage == "forward" else None))


def test_a_call_that_depends_on_what_the_memory_held_is_not_deterministic() -> None:
    case = GroupedGemmCase(m_sizes=(2,), N=3, K=2, relation="repeated", data="normal")

    def noisy(stage: str, tensors: Any) -> None:
        if stage == "forward" and not tensors[3].new_empty(1).isnan():
            tensors[3].mul_(1 + 2**-23)

    assert found(noisy, case) == "NonDeterministic_Y"


def test_a_call_with_a_memory_is_not_deterministic() -> None:
    calls = itertools.count()
    case = GroupedGemmCase(m_sizes=(2,), N=3, K=2, relation="repeated", data="normal")
    assert found(lambda stage, t: t[1].mul_(1 + next(calls) % 2 * 2**-23) if stage == "backward" else None, case) == "NonDeterministic_dW"


def test_a_warning_is_no_failure() -> None:
    def warning(stage: str, _: Any) -> None:
        warnings.warn(stage, stacklevel=2)

    assert failure(warning) is None


def test_a_target_may_resize_what_it_allocated() -> None:
    def resizing(*_: Any) -> None:
        assert torch.empty(3).resize_(2**15).resize_(4).shape == (4,)

    assert failure(resizing) is None


def test_allocations_start_poisoned_in_every_dtype_stride_and_pass() -> None:
    with Allocations(CPU) as allocations:
        made = [torch.empty(3, dtype=torch.bfloat16), torch.empty_strided((2, 2), (7, 1)), torch.zeros(2).new_empty(4, dtype=torch.float16)]
        made.append(torch.empty_permuted((2, 3), (1, 0)))
        zeros, full = torch.zeros(3), torch.zeros(2, 2).new_full((2,), 7.0)
        indices = torch.empty(4, dtype=torch.int32)
    assert all(tensor.isnan().all() for tensor in made) and indices.tolist() == [-1] * 4
    assert not zeros.any() and full.tolist() == [7.0, 7.0]
    allocations.raise_if_overrun(GroupedGemmCase(m_sizes=(1,)), "right")
    with Allocations(CPU, "finite"):
        assert torch.empty(3, dtype=torch.bfloat16).tolist() == [-7.0] * 3 and torch.empty(2, dtype=torch.int64).tolist() == [0, 0]


def test_the_arena_keeps_values_strides_and_alignment() -> None:
    tensors = {"X": torch.arange(12.0).reshape(3, 4)[:, :3].T, "m_sizes": torch.tensor([3], dtype=torch.int32), "W": torch.zeros(0, 4)}
    arena = Arena(tensors, CPU)
    for name, tensor in tensors.items():
        placed = arena.tensors[name]
        assert torch.equal(placed, tensor) and placed.stride() == tensor.stride() and placed.data_ptr() % 16 == 0
    ends = sorted(tensor.data_ptr() for tensor in arena.tensors.values())
    assert min(b - a for a, b in itertools.pairwise(ends)) >= GAPS["cpu"] and list(arena.changes()) == []


def test_what_lies_behind_the_last_row_of_an_input_is_nan() -> None:
    case = GroupedGemmCase(m_sizes=(2,), N=2, K=3)
    over_read = Target("reads on", lambda X, W, m_sizes: X.as_strided((2, 4), (3, 1))[:, 1:] @ W[0].T)
    assert type(failure_of(case, over_read)).__name__ == "NonFinite_Y"
