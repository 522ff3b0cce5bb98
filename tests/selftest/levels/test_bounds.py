"""The oracle: it accepts every order of accumulation and rejects the smallest wrong answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moefuzz.harness.levels.cases import DTYPES, RECIPES, GroupedGemmCase
from moefuzz.harness.numerics.bounds import accumulation_error, interval, outside, quantum, reals
from moefuzz.harness.numerics.recipes import permutation, values
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.check import failure_of
from moefuzz.kernels.reference import grouped_gemm_reference

CASE = GroupedGemmCase((3, 0, 20), N=9, K=33, dtype="bfloat16", data="normal")


def _operands(recipe: str, dtype: str, K: int) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = (values(recipe, 5, stream, (6, K), fp16=dtype == "float16") for stream in (0, 1))
    return torch.from_numpy(a).to(getattr(torch, dtype)), torch.from_numpy(b).to(getattr(torch, dtype))


@given(st.sampled_from(RECIPES), st.sampled_from(DTYPES), st.integers(1, 200), st.integers(0, 99))
def test_every_order_of_float32_accumulation_is_accepted(recipe: str, dtype: str, K: int, seed: int) -> None:
    a, b = _operands(recipe, dtype, K)
    order = torch.from_numpy(permutation(seed, 9, K))
    products = (a.float() * b.float())[:, order]
    total = torch.zeros(6)
    for k in range(K):
        total = total + products[:, k]
    exact = reals(a) * reals(b)
    R, S = exact.sum(1), np.abs(exact).sum(1)
    low, high = interval(R, accumulation_error(S, K, quantum(reals(a)) * quantum(reals(b))), a.dtype)
    assert not outside(reals(total.to(a.dtype)), low, high).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_an_exact_sum_accepts_its_neighbours_no_more(dtype: torch.dtype) -> None:
    R = np.array([3.0])
    low, high = interval(R, np.zeros(1), dtype)
    up = torch.tensor([3.0 + 3 * torch.finfo(dtype).eps], dtype=dtype)
    assert not outside(R, low, high).any() and outside(reals(up), low, high).all()


def test_minus_zero_is_zero_and_nan_is_wrong() -> None:
    low, high = interval(np.zeros(1), np.zeros(1), torch.float32)
    assert not outside(np.array([-0.0]), low, high).any() and outside(np.array([np.nan]), low, high).all()


def test_overflow_is_expected_where_the_whole_interval_overflows() -> None:
    low, high = interval(np.array([70000.0]), np.ones(1), torch.float16)
    assert not outside(np.array([np.inf]), low, high).any() and outside(np.array([65504.0]), low, high).all()


def _swap_rows(y: torch.Tensor) -> torch.Tensor:
    return y[[1, 0, *range(2, len(y))]]


CHEATS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "zeros": torch.zeros_like,
    "a 64th too large": lambda y: y * (1 + 2**-6),
    "two rows exchanged": _swap_rows,
    "the last expert zeroed": lambda y: torch.cat([y[:3], y[3:] * 0]),
    "a constant": torch.ones_like,
    "one row lost": lambda y: torch.cat([y[:-1], y[-1:] * 0]),
}


@pytest.mark.parametrize("data", ["integers", "normal", "wide"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cheat", CHEATS)
def test_cheap_answers_are_rejected(cheat: str, dtype: str, data: str) -> None:
    case = GroupedGemmCase(CASE.m_sizes, CASE.N, CASE.K, dtype=dtype, data=data, grads="")
    target = Target(cheat, lambda X, W, m_sizes: CHEATS[cheat](grouped_gemm_reference(X, W, m_sizes, 1)))
    assert type(failure_of(case, target)).__name__ == "WrongValue_Y"


@pytest.mark.parametrize("data", RECIPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_torch_loop_is_right(dtype: str, data: str) -> None:
    case = GroupedGemmCase(CASE.m_sizes, CASE.N, CASE.K, dtype=dtype, data=data)
    assert failure_of(case, Target("the torch loop", lambda X, W, m_sizes: grouped_gemm_reference(X, W, m_sizes, 1))) is None


def test_a_wrong_shape_and_a_wrong_dtype_are_named() -> None:
    shape = Target("shape", lambda X, W, m_sizes: X.new_zeros(1, 1))
    dtype = Target("dtype", lambda X, W, m_sizes: grouped_gemm_reference(X, W, m_sizes, 1).float())
    sparse = Target("sparse", lambda X, W, m_sizes: grouped_gemm_reference(X, W, m_sizes, 1).to_sparse())
    meta = Target("meta", lambda X, W, m_sizes: grouped_gemm_reference(X, W, m_sizes, 1).to("meta"))
    for target in (shape, dtype, sparse, meta):
        assert type(failure_of(GroupedGemmCase(CASE.m_sizes, 9, 33, "bfloat16", grads=""), target)).__name__ == "WrongShape_Y"


def test_a_missing_gradient_and_an_exception_are_named() -> None:
    detached = Target("detached", lambda X, W, m_sizes: grouped_gemm_reference(X, W.detach(), m_sizes, 1))
    broken = Target("broken", lambda X, W, m_sizes: X[:: len(X) // 0])
    assert type(failure_of(CASE, detached)).__name__ == "GradMissing_dW"
    assert "raised ZeroDivisionError" in str(failure_of(CASE, broken))
