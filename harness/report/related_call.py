"""The second call of a relation, as a script can make it: other tensors, and which elements of both results must be the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from moefuzz.harness.base.device import device
from moefuzz.harness.failures import Failure
from moefuzz.harness.levels.level import Level, NoScript, level_of
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.isolation import isolation_for


@dataclass(frozen=True)
class Second:
    """The second problem, and the flat indices of what is compared in the first and in the second result of ``tensor``."""

    problem: Any
    tensor: str
    relation: str
    first_part: list[int]
    second_part: list[int]


def related(failure: Failure, problem: Any, target: Target) -> Second:
    """The follow-up that breaks the relation. Raises NoScript."""
    level = level_of(failure.case.level)
    first = level.tensors(problem, level.run(problem, target, device()))
    for follow_up in level.relations[failure.case.relation](problem, target):
        if follow_up.run is not None:
            raise NoScript(f"the second call of {failure.case.relation!r} is one that moefuzz makes in its own way")
        second = level.tensors(follow_up.problem, level.run(follow_up.problem, target, device()))
        tensor = str(failure.tensor)
        if tensor not in follow_up.same or tensor not in first or tensor not in second:
            continue
        of_first, of_second = follow_up.same[tensor]
        parts = _elements(of_first, first[tensor]), _elements(of_second, second[tensor])
        a, b = (t.detach().cpu().flatten()[part] for t, part in zip((first[tensor], second[tensor]), parts, strict=True))
        if not torch.equal(a.nan_to_num(), b.nan_to_num()) or not torch.equal(a.isnan(), b.isnan()):
            return Second(follow_up.problem, tensor, failure.case.relation, parts[0].tolist(), parts[1].tolist())
    raise NoScript("the difference did not come back")


def at_fault(failure: Failure, problem: Any, target: Target) -> Any:
    """The problem of a call that shows the failure by itself: the first, or a plain one of the relation. Raises NoScript."""
    if _is_of_first_call(failure, target):
        return problem
    level = level_of(failure.case.level)
    is_safe = not failure.kind.ends_a_process and failure.kind.base != "WroteOutside"  # to be run in this process
    for follow_up in level.relations[failure.case.relation](problem, target) if is_safe else ():
        if follow_up.run is None and follow_up.dtype is None and _shows(level, follow_up.problem, failure, target):
            return follow_up.problem
    raise NoScript(f"the call of {failure.case.relation!r} that fails is one that moefuzz makes in its own way")


def _is_of_first_call(failure: Failure, target: Target) -> bool:
    """Whether the case fails in the same way without its relation."""
    from moefuzz.harness.verdict.check import failure_of

    if failure.mismatch is not None:
        return "in the second call" not in failure.finding
    if failure.kind.ends_a_process and isolation_for(target) is None:
        return False
    first = failure_of(dataclasses.replace(failure.case, relation=""), target)
    return first is not None and first.bucket == failure.bucket


def _shows(level: Level[Any], problem: Any, failure: Failure, target: Target) -> bool:
    """Whether one plain call fails as ``failure`` says."""
    again: list[Failure] = []
    try:
        for claim in level.claims(problem, level.run(problem, target, device()), target):
            try:
                claim.judge(failure.case, target.name)
            except Failure as wrong:
                again.append(wrong)
    except Failure as failed:
        again.append(failed)
    kinds = {failure.kind.base, "NonFinite"} if failure.kind.base == "NotWritten" else {failure.kind.base}
    same = [one for one in again if one.kind.base in kinds and one.kind.detail == failure.kind.detail]
    return any((one.tensor, one.mismatch) == (failure.tensor, failure.mismatch) for one in same)


def _elements(part: Callable[[torch.Tensor], torch.Tensor], tensor: torch.Tensor) -> torch.Tensor:
    """The flat indices of the elements that a part takes. Raises NoScript for one that changes what it takes."""
    numbers = torch.arange(tensor.numel(), dtype=torch.float64).reshape(tensor.shape)
    taken = part(numbers)
    same = torch.equal(part(numbers + 1), taken + 1) and torch.equal(part(2 * numbers), 2 * taken)
    if not same or not torch.equal(taken, taken.round()):
        raise NoScript("what is compared is no part of the results as they are")
    return taken.flatten().long()
