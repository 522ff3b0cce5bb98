"""Compute what a report shows of a failing case: the error of every tensor, and a picture of the first wrong one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from moefuzz.harness.base.case import Case
from moefuzz.harness.base.device import device
from moefuzz.harness.failures import Failure
from moefuzz.harness.levels.level import level_of
from moefuzz.harness.numerics.claims import Claim, ElementwiseError
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.checked import checked_of
from moefuzz.harness.verdict.isolation import isolation_for
from moefuzz.harness.verdict.judge import claimed

from .picture import Picture, picture_of


@dataclass(frozen=True)
class TensorError:
    """The error of one tensor of a case's plain call (without a relation)."""

    tensor: str
    wrong: int  # number of wrong elements; -1 if shape or dtype is wrong
    total: int
    error: float  # the largest distance from the reference
    share: float  # the largest error as a share of its bound; infinite if a bound is 0 and the element is wrong
    exact: bool  # every order of accumulation gives the same bits


@dataclass(frozen=True)
class Examination:
    """The tensors, in the order of computation, and the picture that a report shows of a failing case's plain call."""

    tensors: tuple[TensorError, ...]
    picture: Picture | None


def examine(failure: Failure, target: Target) -> Examination | None:
    """Return the errors of all tensors of a failing case, or None without any. If they stayed in a worker, the case runs there again."""
    if (checked := checked_of(failure)) is not None:
        return _seen(checked.claims, failure.case)
    isolation = isolation_for(target)
    if isolation is not None:
        return isolation.run_in_worker(_examined_by_name, failure.case, target.name)
    return _examined(failure.case, target)


def _examined_by_name(case: Case, spec: str) -> Examination | None:
    from moefuzz.harness.targets.registry import load_target

    return _examined(case, load_target(spec))


def _examined(case: Case, target: Target) -> Examination | None:
    level = level_of(case.level)
    try:
        problem = level.build(case)
        return _seen(claimed(problem, level.run(problem, target, device()), target).claims, case)
    except Exception:  # the failure describes the exception already
        return None


def _seen(claims: Sequence[Claim], case: Case) -> Examination | None:
    dtype = getattr(torch, case.dtype)
    tensors, picture = [], None
    for claim in claims:
        if not claim.fits(dtype):
            tensors.append(TensorError(claim.tensor, -1, 0, 0.0, 0.0, exact=False))
            continue
        seen = claim.compared(dtype)
        tensors.append(_error_of(claim.tensor, seen))
        if picture is None and seen.wrong.any():
            picture = picture_of(claim, seen)
    return Examination(tuple(tensors), picture) if tensors else None


def _error_of(tensor: str, seen: ElementwiseError) -> TensorError:
    error, share = (float(values.max(initial=0.0)) for values in (seen.error(), seen.share()))
    return TensorError(tensor, int(seen.wrong.sum()), seen.wrong.size, error, share, exact=not seen.b.any())
