"""Find the calls of a relation that a script makes: one that fails alone, or two whose results must be the same."""

from __future__ import annotations

import dataclasses
from typing import Any

from moefuzz.harness.failures import Failure
from moefuzz.harness.levels.level import NoScript
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.check import failure_of
from moefuzz.harness.verdict.checked import Checked, SecondCall
from moefuzz.harness.verdict.isolation import isolation_for


def related(failure: Failure, checked: Checked) -> SecondCall:
    """Return the second call that breaks the relation. Raises NoScript."""
    second = checked.second
    if second is None or not second.tensor:
        raise NoScript("the difference did not come back")
    if not second.is_plain:
        raise NoScript(f"the second call of {failure.case.relation!r} is one that moefuzz makes in its own way")
    if second.unlike:
        raise NoScript(second.unlike)
    return second


def at_fault(failure: Failure, checked: Checked | None, problem: Any, target: Target) -> Any:
    """Return the problem of the call that shows the failure: the first, or a plain second one. Raises NoScript."""
    if checked is None:
        is_second = not _is_of_first_call(failure, target)
    else:
        is_second = checked.second is not None
        if checked.second is not None and checked.second.is_plain:
            return checked.second.problem
    if is_second:
        raise NoScript(f"the call of {failure.case.relation!r} that fails is one that moefuzz makes in its own way")
    return problem


def _is_of_first_call(failure: Failure, target: Target) -> bool:
    """Return whether the case fails in the same way without its relation."""
    if failure.kind.ends_a_process and isolation_for(target) is None:
        return False
    first = failure_of(dataclasses.replace(failure.case, relation=""), target)
    return first is not None and first.bucket == failure.bucket
