"""Declared precision: what a kernel says that it loses is allowed, and no more; what it does not say is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from moefuzz.harness.failures import Failure
from moefuzz.harness.levels.cases import GroupedGemmCase
from moefuzz.harness.numerics.bounds import declared_error
from moefuzz.harness.targets import BadTarget, Target
from moefuzz.harness.targets.registry import load_target
from moefuzz.harness.verdict.check import check, failure_of
from moefuzz.kernels.reference import grouped_gemm_reference
from moefuzz.strategies import grouped_gemm_cases
from moefuzz.strategies.regimes import outside_cases
from moefuzz.tests.selftest.levels.test_detection_by_tier import Contraction, bfloat16_partials, grouped_gemm_of
from moefuzz.tests.selftest.support.strategy_checks import assert_all_examples, find_any

CASE = GroupedGemmCase(m_sizes=(5, 0, 31, 8), N=40, K=129, data="normal")


def tf32(x: torch.Tensor) -> torch.Tensor:
    """Cut off behind the 11th significant bit."""
    return (x.view(torch.int32) >> 13 << 13).view(torch.float32)


def in_tf32(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (tf32(a.contiguous()).double() @ tf32(b.contiguous()).double()).float()


def in_bfloat16(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a.bfloat16().double() @ b.bfloat16().double()).float()


def found(contraction: Contraction, case: GroupedGemmCase = CASE, **declared: Any) -> Failure | None:
    return failure_of(case, Target("declared", grouped_gemm_of(contraction).function, **declared))


def test_tf32_is_right_where_it_is_declared_and_nowhere_else() -> None:
    assert found(in_tf32) is not None and found(in_tf32, tf32=True) is None
    assert found(in_bfloat16, tf32=True) is not None


def test_operands_that_tf32_holds_are_still_compared_bit_by_bit() -> None:
    case = GroupedGemmCase(m_sizes=(5, 3), N=4, K=9, data="integers")
    assert check(case, Target("declared", grouped_gemm_of(in_tf32).function, tf32=True)).shares == dict.fromkeys(("Y", "dX", "dW"), 0.0)
    assert found(lambda a, b: in_tf32(a, b) * 1.0001, case, tf32=True) is not None


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_partial_sums_are_right_where_they_are_declared_and_nowhere_else(dtype: str) -> None:
    case = GroupedGemmCase(m_sizes=(5, 0, 31, 8), N=40, K=129, dtype=dtype, data="normal")

    def partials(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        halves = [(x @ y).to(a.dtype) for x, y in zip(a.float().chunk(2, 1), b.float().chunk(2), strict=True)] if len(b) > 1 else []
        return halves[0] + halves[1] if halves else (a.float() @ b.float()).to(a.dtype)

    assert found(partials, case) is not None and found(partials, case, partial_sums=2) is None
    assert found(lambda a, b: partials(a, b) * (1 + 4 * torch.finfo(a.dtype).eps), case, partial_sums=2) is not None
    if dtype == "float16":
        assert found(bfloat16_partials, case, partial_sums=2) is not None


def test_small_sums_have_no_room_for_partial_ones() -> None:
    sums = np.array([256.0, 257.0])
    assert (declared_error(sums, 1.0, torch.bfloat16, partial_sums=4, tf32=False) > 0).tolist() == [False, True]


def test_rows_beyond_the_sum_can_be_refused() -> None:
    def refuses(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
        if len(X) != int(m_sizes.sum()):
            raise ValueError("m_sizes must sum to the rows of X")
        return grouped_gemm_reference(X, W, m_sizes, 1)

    target = Target("refuses", refuses, tail_rows="refused")
    assert_all_examples(grouped_gemm_cases(target), lambda case: not case.tail_rows)
    outside = outside_cases(target)
    assert outside is not None
    assert "must sum to" in check(find_any(outside, lambda case: case.tail_rows > 2), target).refused
    lying = Target("lies", lambda X, W, m_sizes: torch.einsum("mk,nk->mn", X, W[0]), tail_rows="refused")
    assert type(failure_of(GroupedGemmCase((2,), tail_rows=1), lying)).__name__.startswith("NotRefused")


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"tf32": True, "level": "experts"}, "at level grouped_gemm alone"),
        ({"partial_sums": 0}, "partial_sums must be a whole number"),
        ({"devices": ("tpu",)}, "devices must be some of"),
        ({"acts": ("gelu",)}, "acts must be some of"),
    ],
    ids=str,
)
def test_what_cannot_be_declared_is_wrong_usage(declared: dict[str, Any], said: str) -> None:
    with pytest.raises(BadTarget, match=said):
        Target("odd", grouped_gemm_reference, **declared)


NEEDS_CUDA = Target("needs_cuda", grouped_gemm_reference, devices=("cuda",))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_target_for_another_device_is_one_line() -> None:
    with pytest.raises(BadTarget, match=r"runs on cuda alone, and targets run on: CPU"):
        load_target(f"{__name__}:NEEDS_CUDA")
