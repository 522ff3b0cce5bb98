"""Follow-ups: a second call whose results follow from those of the first, whatever the reference says; the same at every level.

A case that names a relation is checked alone, then once more with each follow-up of the relation. A follow-up's results are judged like
any others, unless its inputs hold NaN on purpose. Then the related parts of both results are compared bit for bit: always, where a right
target has no choice; else where both bounds are 0, since then every order of summation gives the same bits. (What has a choice: a library
may take another path for other shapes, another alignment, or tensors that need no gradient.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from moefuzz.harness.base.case import Case
from moefuzz.harness.failures import BROKEN_RELATION, NON_DETERMINISTIC
from moefuzz.harness.levels.level import FollowUp, Level
from moefuzz.harness.numerics.claims import Claim, judge_all
from moefuzz.harness.targets import Target


def check_follow_ups(
    level: Level[Any], problem: Any, first: Mapping[str, torch.Tensor], claims: Sequence[Claim], target: Target, device: torch.device
) -> None:
    """Raise a Failure where the relation that the problem's case names does not hold; ``first`` is the plain call, ``claims`` are its."""
    __tracebackhide__ = True
    case, exact = problem.case, _exact(claims)
    for follow_up in level.relations[case.relation](problem, target):
        if target.limit_on(follow_up.problem.case) is not None:
            continue
        result = (follow_up.run or level.run)(follow_up.problem, target, device)
        if result is None:
            continue
        exact_too = _exact(_judged(follow_up, level.claims(follow_up.problem, result, target), target, case)) if follow_up.judged else set()
        second = level.tensors(follow_up.problem, result)
        for tensor, (of_first, of_second) in follow_up.same.items():
            compared = (follow_up.always and target.deterministic) or tensor in exact & exact_too
            if compared and tensor in first and tensor in second:
                a, b = of_first(first[tensor].detach().cpu()), of_second(second[tensor].detach().cpu())
                _hold_together(case, target, tensor, a, b, nondeterminism=follow_up.nondeterminism)


def _judged(follow_up: FollowUp[Any], claims: Sequence[Claim], target: Target, case: Case) -> list[Claim]:
    """The claims of a second call, which hold."""
    __tracebackhide__ = True
    held = [claim for claim in claims if claim.tensor not in follow_up.unjudged]
    if follow_up.dtype is not None:
        held = [claim.rounded_to(follow_up.dtype) for claim in held]
    judge_all(held, case, target.name, f", in the second call of {case.relation!r}")
    return held


def _hold_together(case: Case, target: Target, tensor: str, a: torch.Tensor, b: torch.Tensor, *, nondeterminism: bool) -> None:
    """Raise a Failure where two tensors that must hold the same numbers do not; NaN equals NaN, -0 equals +0."""
    __tracebackhide__ = True
    wrong = ~((a == b) | (a.isnan() & b.isnan()))
    if wrong.any():
        kind = NON_DETERMINISTIC if nondeterminism else BROKEN_RELATION
        at = tuple(int(i) for i in wrong.nonzero()[0])
        said = f"{tensor} differs in {int(wrong.sum())} of {wrong.numel()} elements"
        raise kind[tensor](case, target.name, f"{case.relation}: {said}, first at {list(at)}: {a[at]:.9g}, then {b[at]:.9g}")


def _exact(claims: Sequence[Claim]) -> set[str]:
    """The tensors whose every element has a bound of 0."""
    return {claim.tensor for claim in claims if not claim.bound.any()}
