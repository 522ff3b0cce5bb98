"""Relations: each compares something, sees a change of any tensor that it compares, and names only what the closed list has."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from moefuzz.harness.base.device import device
from moefuzz.harness.levels import cases
from moefuzz.harness.levels.cases import GroupedGemmCase
from moefuzz.harness.levels.grouped_gemm.problem import build_grouped_gemm
from moefuzz.harness.levels.grouped_gemm.relations import RELATIONS_BY_NAME as RELATIONS
from moefuzz.harness.levels.grouped_gemm.run import run_grouped_gemm
from moefuzz.harness.numerics.segments import segment_matmul, segment_outer
from moefuzz.harness.targets import Target
from moefuzz.harness.targets.registry import default_target
from moefuzz.harness.verdict.check import failure_of
from moefuzz.kernels.reference import grouped_gemm_reference

ON_A_GPU = ("other stream", "graph replayed")
PERMUTES: dict[str, dict[str, Any]] = {"none": {}, "x": {"permute": "x", "topk": 2}, "y": {"permute": "y", "topk": 2, "order": "shuffled"}}
COMPARED = {
    "rows in two calls": ["Y", "dX"], "row copied": ["Y", "dX"], "expert split": ["Y", "dX"],
}  # fmt: skip


@pytest.mark.parametrize("permute", PERMUTES)
@pytest.mark.parametrize("relation", [name for name in cases.RELATIONS if device().type == "cuda" or name not in ON_A_GPU])
def test_every_relation_compares_what_it_says(relation: str, permute: str) -> None:
    dtype = "bfloat16" if relation == "autocast" else "float32"  # only then bits are compared
    case = GroupedGemmCase((3, 0, 5), N=4, K=3, tail_rows=2, dtype=dtype, data="signs", relation=relation, seed=1, **PERMUTES[permute])
    problem, target = build_grouped_gemm(case), default_target()
    first, compared = run_grouped_gemm(problem, target, device()), set()
    for follow_up in RELATIONS[relation](problem, target):
        second = (follow_up.run or run_grouped_gemm)(follow_up.problem, target, device())
        for tensor, (of_first, of_second) in follow_up.compare.items():
            a, b = getattr(first, tensor), getattr(second, tensor)
            if a is None or b is None:
                continue
            a, b = of_first(a.detach()), of_second(b.detach())
            assert torch.equal(a, b) and a.any() and not torch.equal(a, b + 1), tensor
            compared.add(tensor)
    unpermuted_only = relation in ("rows in two calls", "row copied") and permute != "none"
    nothing = unpermuted_only or (relation == "foreign rows NaN" and permute == "x")
    assert sorted(compared) == ([] if nothing else COMPARED.get(relation, ["Y", "dW", "dX"]))


class Remembering:
    """Right, until another shape came in between."""

    def __init__(self) -> None:
        self.last = 0

    def __call__(self, Y: torch.Tensor, X: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        before, self.last = self.last, X.shape[1]
        return Y + 1 if before > X.shape[1] else Y


WRONG: dict[str, Callable[..., torch.Tensor]] = {
    "other shapes between": Remembering(),
    "foreign rows NaN": lambda Y, X, W, sizes: Y + 0 * X.sum(),
    "foreign weights NaN": lambda Y, X, W, sizes: Y + 0 * W.sum(),
    "empty expert inserted": lambda Y, X, W, sizes: Y + 0 * W.sum(),
    "experts permuted": lambda Y, X, W, sizes: Y if sizes[0] else Y + 1,
    "K padded": lambda Y, X, W, sizes: Y if X.shape[1] < 16 else Y + 1,
    "scaled": lambda Y, X, W, sizes: Y.clamp(-3, 3),
}


@pytest.mark.parametrize("relation", WRONG)
def test_a_target_that_breaks_a_relation_alone_is_caught(relation: str) -> None:
    target = Target("wrong", lambda X, W, m_sizes: WRONG[relation](grouped_gemm_reference(X, W, m_sizes, 1), X, W, m_sizes))
    case = GroupedGemmCase(m_sizes=(2, 0, 1), N=2, K=3, data="signs", grads="")
    assert failure_of(case, target) is None
    assert any(failure_of(dataclasses.replace(case, seed=seed, relation=relation), target) for seed in range(9))


def cast_to_bfloat16(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    return grouped_gemm_reference(X.bfloat16(), W.bfloat16(), m_sizes, 1) if torch.is_autocast_enabled("cpu") else as_it_is(X, W, m_sizes)


def as_it_is(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    return grouped_gemm_reference(X, W, m_sizes, 1)


def refuses(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    if torch.is_autocast_enabled("cpu"):
        raise TypeError("no autocast")
    return as_it_is(X, W, m_sizes)


def cast_too_far(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    coarse = X.to(torch.float8_e4m3fn).to(X.dtype)
    return as_it_is(coarse if torch.is_autocast_enabled("cpu") else X, W, m_sizes)


def to_another_dtype(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    Y = as_it_is(X, W, m_sizes)
    return Y.half() if torch.is_autocast_enabled("cpu") else Y


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("function", [as_it_is, cast_to_bfloat16, refuses, cast_too_far, to_another_dtype])
def test_autocast_may_be_followed_ignored_or_refused_but_not_wrong(function: Callable[..., torch.Tensor], dtype: str) -> None:
    target = Target(function.__name__, function)
    case = GroupedGemmCase(m_sizes=(5, 0, 4), N=6, K=7, dtype=dtype, data="normal", relation="autocast")
    allowed = function in (as_it_is, cast_to_bfloat16) or (function is refuses and dtype == "float32")
    failure = failure_of(case, target)
    assert (failure is None) == allowed, failure
    assert failure_of(dataclasses.replace(case, relation=""), target) is None


def test_the_reference_is_linear_and_its_passes_are_adjoint() -> None:
    sizes = (3, 0, 4)
    X, X2, dY = (np.random.default_rng(i).integers(-4, 5, shape).astype(float) for i, shape in enumerate(((7, 5), (7, 5), (7, 6))))
    W = np.arange(-45.0, 45.0).reshape(3, 6, 5)
    Wt = W.swapaxes(1, 2)
    Y, dX, dW = segment_matmul(X, Wt, sizes), segment_matmul(dY, W, sizes), segment_outer(dY, X, sizes)
    assert np.array_equal(segment_matmul(X + X2, Wt, sizes), Y + segment_matmul(X2, Wt, sizes))
    assert (dY * Y).sum() == (dX * X).sum() == (dW * W).sum() != 0
