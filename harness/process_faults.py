"""Grouped GEMMs that take their process along, each in a corner of its own: for the tests of isolation, and to see what a report says.

``moefuzz fuzz --isolate -t moefuzz.harness.process_faults:aborts_behind_an_empty_expert`` shows one. The smallest case of each stands in
``tests/selftest/test_isolation.py``.
"""

from __future__ import annotations

import os
import time

import torch
import triton
import triton.language as tl

from moefuzz.kernels import interpreter
from moefuzz.kernels.reference import grouped_gemm_reference

interpreter.repair()


@triton.jit
def _store_far_away(y_ptr):
    tl.store(y_ptr + (1 << 44), 1.0)


def aborts_behind_an_empty_expert(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    """X [M, K], W [E, N, K], m_sizes [E] -> Y [M, N], as all of them."""
    empty = m_sizes == 0
    if bool((empty[:-1] & ~empty[1:]).any()):
        os.abort()
    return grouped_gemm_reference(X, W, m_sizes, 1)


def exits_where_an_expert_has_three_rows(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    """As C code may that calls ``exit``."""
    if bool((m_sizes == 3).any()):
        os._exit(3)
    return grouped_gemm_reference(X, W, m_sizes, 1)


def loops_on_odd_columns(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    """An end that is stepped over."""
    n = W.shape[1]
    while n > 1:
        n -= 2
        if n == 1:
            n += 2
            time.sleep(0.01)
    return grouped_gemm_reference(X, W, m_sizes, 1)


def stores_far_away_below_seventeen_deep(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    """An address that nobody owns: a segmentation fault under the interpreter, on a GPU an error that stays with the context."""
    Y = grouped_gemm_reference(X, W, m_sizes, 1)
    if W.shape[2] > 16:
        _store_far_away[(1,)](Y)
    return Y


def asks_for_too_much(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    """Memory that no machine has."""
    return torch.empty(2**52, device=X.device)
