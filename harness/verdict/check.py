"""``check``: one case against one target."""

from __future__ import annotations

from moefuzz.harness.base.case import Case
from moefuzz.harness.base.resources import NoRoom, room_noted
from moefuzz.harness.base.signals import end_if_told
from moefuzz.harness.failures import Failure
from moefuzz.harness.levels.level import level_of
from moefuzz.harness.targets import BadTarget, Target, UndeclaredCase
from moefuzz.harness.targets.registry import default_target, load_target, remember_target

from . import known_issues
from .agreement import Agreement
from .isolation import isolation_for
from .journal import write_ahead
from .judge import check_here
from .origins import recorded

__all__ = ["Agreement", "check", "failure_of"]


def check(case: Case, target: Target | None = None) -> Agreement:
    """Compare a target (moefuzz's own op by default) with the reference on one case.

    Return an Agreement. Raise a Failure that says which tensor of which pass disagrees and where; BadTarget for a target of another level;
    UndeclaredCase for a case that the target does not take. Outside its declaration a target must be right, or raise an exception.

    >>> from moefuzz.harness.levels.grouped_gemm.case import GroupedGemmCase
    >>> check(GroupedGemmCase(m_sizes=(1, 2), N=3, K=4)).shares
    {'Y': 0.0, 'dX': 0.0, 'dW': 0.0}
    """
    __tracebackhide__ = True
    target = target or default_target(case.level)
    if target.level != case.level:
        raise BadTarget(f"target {target.name!r} is of level {target.level} and cannot run a case of level {case.level}")
    if not target.takes(case):
        raise UndeclaredCase(f"target {target.name!r} does not declare that it takes {case!r}")
    if case.relation and case.relation not in level_of(case.level).relations:
        raise ValueError(f"relation must be one of {tuple(level_of(case.level).relations)}, got {case.relation!r}")
    isolation = isolation_for(target)
    if isolation is None and target.is_declaration:
        target = load_target(target.name)
    remember_target(target)
    end_if_told()
    write_ahead(case, target.name)
    try:
        with room_noted(), recorded(case, target):
            agreement = check_here(case, target) if isolation is None else isolation.check(case, target)
    except Failure as failure:
        if issue := known_issues.match_known_issue(case, target.name, failure):
            return Agreement(case, {}, known=issue.reason)
        raise
    known_issues.match_known_issue(case, target.name, None)
    return agreement


def failure_of(case: Case, target: Target | None = None) -> Failure | None:
    """Return the failure that ``check`` raises; None where the target is right, does not take the case, or gets too little memory."""
    try:
        check(case, target)
    except Failure as failure:
        return failure
    except (UndeclaredCase, NoRoom):
        return None
    return None
