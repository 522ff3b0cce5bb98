"""Changes of a problem that keep it valid, at any level."""

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


_STREAM = 8  # the stream of random bits from which a permutation is drawn


def drawn_permutation(problem: AnyProblem, n: int) -> torch.Tensor:
    """Return a permutation of range(n) that the seed of the case determines."""
    return torch.from_numpy(permutation(problem.case.seed, _STREAM, n))


def others(n: int, without: torch.Tensor) -> torch.Tensor:
    """Return range(n) without the indices ``without``."""
    return torch.ones(n, dtype=torch.bool).index_fill_(0, without, False).nonzero().flatten()


def laid_out_like(model: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return values of the model's shape in the model's strides, with NaN in the gaps; contiguous where the model is expanded."""
    if 0 in model.stride():
        return values.contiguous()
    return torch.full((extent(model),), torch.nan, dtype=model.dtype).as_strided(model.shape, model.stride()).copy_(values)


def with_fields(case: AnyCase, **fields: Any) -> AnyCase:
    """Return the valid case nearest to this one with other fields, and without a relation."""
    own = {field.name: getattr(case, field.name) for field in dataclasses.fields(case)}
    kind: Any = type(case)
    made: AnyCase = kind.fitted(**{**own, "relation": "", **fields})
    return made
