"""Follow-ups: second calls whose results follow from those of the first, whatever the reference says. They work alike at every level.

A case that names a relation is checked alone, then once more with each follow-up of the relation. A follow-up's results are judged like
any others, unless its inputs hold NaN on purpose. Then the related parts of both results are compared bit for bit: always, where a right
target must give the same bits; else where both bounds are 0, since then every order of summation gives the same bits. (A target may give
other bits where a library takes another path: for other shapes, another alignment, or tensors that need no gradient.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from moefuzz.harness.base.case import Case
from moefuzz.harness.failures import BROKEN_RELATION, NON_DETERMINISTIC
from moefuzz.harness.levels.level import FollowUp, Level, Part
from moefuzz.harness.numerics.claims import Claim, judge_all
from moefuzz.harness.targets import Target

from .checked import Checked, SecondCall, kept


def check_follow_ups(level: Level[Any], checked: Checked, target: Target, device: torch.device) -> None:
    """Raise a Failure where the relation that a case names does not hold; ``checked`` is the plain call of the case."""
    __tracebackhide__ = True
    case, exact, first = checked.problem.case, _exact(checked.claims), level.tensors(checked.problem, checked.result)
    for follow_up in level.relations[case.relation](checked.problem, target):
        if target.limit_on(follow_up.problem.case) is not None:
            continue
        is_plain = follow_up.run is None and follow_up.dtype is None
        with kept(replace(checked, second=SecondCall(follow_up.problem, is_plain))):
            result = (follow_up.run or level.run)(follow_up.problem, target, device)
            if result is None:
                continue
            claims = level.claims(follow_up.problem, result, target) if follow_up.check_bounds else []
            exact_too = _exact(_judged(follow_up, claims, target, case))
        second = level.tensors(follow_up.problem, result)
        for tensor, (of_first, of_second) in follow_up.compare.items():
            compared = (follow_up.bitwise and target.deterministic) or tensor in exact & exact_too
            if compared and tensor in first and tensor in second:
                a, b = of_first(first[tensor].detach().cpu()), of_second(second[tensor].detach().cpu())
                if (finding := _difference(tensor, a, b)) is not None:
                    kind = NON_DETERMINISTIC if follow_up.nondeterminism else BROKEN_RELATION
                    failure = kind[tensor](case, target.name, f"{case.relation}: {finding}")
                    parts = _parts(follow_up.compare[tensor], first[tensor], second[tensor])
                    failure.checked = replace(checked, second=SecondCall(follow_up.problem, is_plain, tensor, *parts))
                    raise failure


def _judged(follow_up: FollowUp[Any], claims: Sequence[Claim], target: Target, case: Case) -> list[Claim]:
    """Judge the claims of a second call, and return them. Raises Failure where one does not hold."""
    __tracebackhide__ = True
    held = [claim for claim in claims if claim.tensor not in follow_up.skip_tensors]
    if follow_up.dtype is not None:
        held = [claim.rounded_to(follow_up.dtype) for claim in held]
    judge_all(held, case, target.name, f", in the second call of {case.relation!r}")
    return held


def _difference(tensor: str, a: torch.Tensor, b: torch.Tensor) -> str | None:
    """Return a sentence on how two tensors differ, None where they hold the same numbers; NaN equals NaN, -0 equals +0."""
    wrong = ~((a == b) | (a.isnan() & b.isnan()))
    if not wrong.any():
        return None
    at = tuple(int(i) for i in wrong.nonzero()[0])
    said = f"{tensor} differs in {int(wrong.sum())} of {wrong.numel()} elements"
    return f"{said}, first at {list(at)}: {a[at]:.9g}, then {b[at]:.9g}"


def _parts(parts: tuple[Part, Part], *tensors: torch.Tensor) -> tuple[tuple[int, ...], tuple[int, ...], str]:
    """Return the flat indices of the compared elements in both tensors, or why there are none: a part may change the numbers it takes."""
    taken = []
    for part, tensor in zip(parts, tensors, strict=True):
        numbers = torch.arange(tensor.numel(), dtype=torch.float64).reshape(tensor.shape)
        one = part(numbers)
        same = torch.equal(part(numbers + 1), one + 1) and torch.equal(part(2 * numbers), 2 * one)
        if not same or not torch.equal(one, one.round()):
            return (), (), "what is compared is no part of the results as they are"
        taken.append(tuple(one.flatten().long().tolist()))
    return taken[0], taken[1], ""


def _exact(claims: Sequence[Claim]) -> set[str]:
    """Return the names of the tensors of which every element has a bound of 0."""
    return {claim.tensor for claim in claims if not claim.bound.any()}
