"""The second call of a relation, as a script can make it: other tensors, and which elements of both results must be the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .device import device
from .failures import Failure
from .targets import Target


class NoScript(Exception):
    """A failure has no script; the text says why."""


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
    from .verdict import level_of

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
    """The problem of the call that is wrong: the first, or one of the relation. Raises NoScript."""
    from .verdict import level_of

    if "in the second call" not in failure.finding:
        return problem
    level = level_of(failure.case.level)
    for follow_up in level.relations[failure.case.relation](problem, target):
        if follow_up.run is None and follow_up.dtype is None:
            for claim in level.claims(follow_up.problem, level.run(follow_up.problem, target, device()), target):
                try:
                    claim.judge(failure.case, target.name)
                except Failure as again:
                    if again.tensor == failure.tensor and again.mismatch == failure.mismatch:
                        return follow_up.problem
    raise NoScript("the call that is wrong is one that moefuzz makes in its own way")


def _elements(part: Callable[[torch.Tensor], torch.Tensor], tensor: torch.Tensor) -> torch.Tensor:
    """The flat indices of the elements that a part takes. Raises NoScript for one that changes what it takes."""
    numbers = torch.arange(tensor.numel(), dtype=torch.float64).reshape(tensor.shape)
    taken = part(numbers)
    same = torch.equal(part(numbers + 1), taken + 1) and torch.equal(part(2 * numbers), 2 * taken)
    if not same or not torch.equal(taken, taken.round()):
        raise NoScript("what is compared is no part of the results as they are")
    return taken.flatten().long()
