"""Grouped GEMMs with a fault that affects more than their result, each in different cases; most of them end their process.

``moefuzz fuzz --isolate -t moefuzz.harness.planted.process_faults:aborts_behind_an_empty_expert`` finds one. ``MINIMAL`` has the smallest
case of each.
"""

from __future__ import annotations

import os
import time

import torch
import triton
import triton.language as tl

from moefuzz.harness.levels.grouped_gemm.case import GroupedGemmCase
from moefuzz.kernels import triton_interpreter
from moefuzz.kernels.reference import grouped_gemm_reference

triton_interpreter.repair()

MINIMAL = {
    "aborts_behind_an_empty_expert": GroupedGemmCase((0, 1)),
    "exits_where_an_expert_has_three_rows": GroupedGemmCase((3,)),
    "loops_on_odd_columns": GroupedGemmCase((0,), N=3),
    "stores_far_away_below_seventeen_deep": GroupedGemmCase((0,), K=17),
    "stores_behind_an_empty_last_expert": GroupedGemmCase((1, 0)),
    "races_below_seventeen_deep": GroupedGemmCase((1,), K=17),  # on a GPU alone
}
"""The smallest case on which each fault fails."""


@triton.jit
def _store_far_away(y_ptr):
    tl.store(y_ptr + (1 << 44), 1.0)


@triton.jit
def _store_behind(y_ptr, n):
    tl.store(y_ptr + n, 0.0)


@triton.jit
def _add_without_atomics(first_ptr, second_ptr, y_ptr):
    at = tl.program_id(1)
    half = tl.load(first_ptr + at) if tl.program_id(0) == 0 else tl.load(second_ptr + at)
    tl.store(y_ptr + at, tl.load(y_ptr + at) + half)


class _Instead(torch.autograd.Function):
    """Returns its second argument, and passes the gradient to its first."""

    @staticmethod
    def forward(_ctx: object, _: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return value

    @staticmethod
    def backward(_ctx: object, dY: torch.Tensor) -> tuple[torch.Tensor, None]:
        return dY, None


def aborts_behind_an_empty_expert(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    """Abort the process; like all of these, a function of X [M, K], W [E, N, K], m_sizes [E] -> Y [M, N]."""
    empty = m_sizes == 0
    if bool((empty[:-1] & ~empty[1:]).any()):
        os.abort()
    return grouped_gemm_reference(X, W, m_sizes, 1)


def exits_where_an_expert_has_three_rows(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    """End the process as C code does that calls ``exit``."""
    if bool((m_sizes == 3).any()):
        os._exit(3)
    return grouped_gemm_reference(X, W, m_sizes, 1)


def loops_on_odd_columns(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    """Loop forever, since the loop steps over its end."""
    n = W.shape[1]
    while n > 1:
        n -= 2
        if n == 1:
            n += 2
            time.sleep(0.01)
    return grouped_gemm_reference(X, W, m_sizes, 1)


def stores_far_away_below_seventeen_deep(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    """Store to an unmapped address: a segmentation fault under the interpreter, a sticky error of the context on a GPU."""
    Y = grouped_gemm_reference(X, W, m_sizes, 1)
    if W.shape[2] > 16:
        _store_far_away[(1,)](Y)
    return Y


def stores_behind_an_empty_last_expert(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    """Store one element after the end of the output; the result is right."""
    Y = grouped_gemm_reference(X, W, m_sizes, 1)
    value = X.new_empty(Y.shape).copy_(Y.detach())
    if value.numel() and bool(m_sizes[-1] == 0):
        _store_behind[(1,)](value, value.numel())
    instead: torch.Tensor = _Instead.apply(Y, value)
    return instead


def races_below_seventeen_deep(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    """Add two halves of a contraction to one place without atomics; right under the interpreter, which runs programs one by one."""
    Y = grouped_gemm_reference(X, W, m_sizes, 1)
    if W.shape[2] <= 16 or not Y.numel():
        return Y
    half = W.detach().clone()
    half[:, :, 16:] = 0
    first = grouped_gemm_reference(X.detach(), half, m_sizes, 1)
    value = torch.zeros_like(first)
    _add_without_atomics[(2, value.numel())](first.contiguous(), (Y.detach() - first).contiguous(), value)
    instead: torch.Tensor = _Instead.apply(Y, value)
    return instead


def asks_for_too_much(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    """Allocate more memory than any machine has."""
    return torch.empty(2**52, device=X.device)


def raises_memory_error(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    """Raise MemoryError although memory is free."""
    raise MemoryError


def meets_a_full_device(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    """Raise the exception of torch for a device whose memory other processes use."""
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 139.80 GiB.")
