"""Changes of a problem that leave it a valid one, at any level."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol, TypeVar

import torch

from moefuzz.harness.base.case import Case
from moefuzz.harness.execution.memory import extent
from moefuzz.harness.numerics.recipes import permutation

AnyCase = TypeVar("AnyCase", bound=Case)


class AnyProblem(Protocol):
    """The tensors of a case."""

    @property
    def case(self) -> Case: ...


_STREAM = 8  # of the bits that a permutation is drawn from


def drawn_permutation(problem: AnyProblem, n: int) -> torch.Tensor:
    """A permutation of range(n) that the case's seed decides."""
    return torch.from_numpy(permutation(problem.case.seed, _STREAM, n))


def others(n: int, without: torch.Tensor) -> torch.Tensor:
    """range(n) without some."""
    return torch.ones(n, dtype=torch.bool).index_fill_(0, without, False).nonzero().flatten()


def laid_out_like(model: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Values of the model's shape in the model's strides, its gaps NaN; expanded ones are given memory of their own."""
    if 0 in model.stride():
        return values.contiguous()
    return torch.full((extent(model),), torch.nan, dtype=model.dtype).as_strided(model.shape, model.stride()).copy_(values)


def with_fields(case: AnyCase, **fields: Any) -> AnyCase:
    """The valid case nearest to this one with other fields, and no relation."""
    own = {field.name: getattr(case, field.name) for field in dataclasses.fields(case)}
    kind: Any = type(case)
    made: AnyCase = kind.fitted(**{**own, "relation": "", **fields})
    return made
