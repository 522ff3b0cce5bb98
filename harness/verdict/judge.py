"""Build, run and judge a case in this process, whatever the known issues say."""

from __future__ import annotations

import functools
from typing import Any

import torch

from moefuzz.harness.base.case import Case
from moefuzz.harness.base.device import device
from moefuzz.harness.base.resources import NoRoom, lack_of_memory
from moefuzz.harness.execution.memory import is_poison
from moefuzz.harness.failures import NOT_WRITTEN, Failure, Raised, not_refused
from moefuzz.harness.failures.kinds import Kind
from moefuzz.harness.levels.level import level_of
from moefuzz.harness.numerics.claims import judge_all
from moefuzz.harness.targets import Target
from moefuzz.kernels import triton_interpreter

from .agreement import Agreement
from .checked import Checked, kept
from .follow_ups import check_follow_ups
from .kernel_coverage import noted
from .origins import recorded
from .sanitizing import run_watched

triton_interpreter.repair()  # kernels of tests may have been made before this import, or be made after it


def check_here(case: Case, target: Target) -> Agreement:
    """Check a case that the target takes, in this process, without known issues. Raises Failure, and NoRoom for lack of memory."""
    __tracebackhide__ = True
    limit = target.limit_on(case)
    try:
        with noted(target.name), recorded(case, target):
            return _in_full(case, target) if limit is None else _refused_or_right(case, target, limit)
    except (RuntimeError, MemoryError) as error:
        if lack := lack_of_memory(error):
            raise NoRoom(lack) from error
        raise


def judge(problem: Any, result: Any, target: Target) -> tuple[Checked, dict[str, float]]:
    """Compare a result with the reference; return the ``Checked`` and, by tensor, the largest share of its bound that was used.

    The outcome depends on problem, result and declaration alone, not on where the target ran. Raises Failure.
    """
    __tracebackhide__ = True
    checked = claimed(problem, result, target)
    with kept(checked):
        return checked, judge_all(checked.claims, problem.case, target.name)


def claimed(problem: Any, result: Any, target: Target) -> Checked:
    """Return the claims on each tensor of a result, not judged yet. Raises Failure where a result cannot be read."""
    __tracebackhide__ = True
    with kept(Checked(problem.case.level, problem, result)):
        claims = level_of(problem.case.level).claims(problem, result, target)
    return Checked(problem.case.level, problem, result, tuple(claims))


@functools.lru_cache(maxsize=64)
def called(case: Case, target: Target) -> tuple[Case, ...]:
    """Return the cases of all calls that a case makes: the first, and with a relation each follow-up."""
    if not case.relation:
        return (case,)
    level = level_of(case.level)
    problem = level.build(case)
    return (case, *(follow_up.problem.case for follow_up in level.relations[case.relation](problem, target)))


def _in_full(case: Case, target: Target) -> Agreement:
    __tracebackhide__ = True
    level, on = level_of(case.level), device()
    problem = level.build(case)
    with kept(Checked(case.level, problem)):
        result, misuse = run_watched(lambda: level.run(problem, target, on), case, target)
    if misuse is not None:
        misuse.checked = claimed(problem, result, target)
        raise misuse
    try:
        checked, shares = judge(problem, result, target)
    except Failure as failure:
        if failure.kind == Kind("NonFinite") and failure.tensor:
            _raise_if_unwritten(failure, target)
        raise
    if case.relation:
        check_follow_ups(level, checked, target, on)
    return Agreement(case, shares)


def _raise_if_unwritten(failure: Failure, target: Target) -> None:
    """Raise NotWritten where a NaN turns into another number under another poison: the target did not write that memory."""
    __tracebackhide__ = True
    level, problem, tensor = level_of(failure.case.level), failure.checked.problem, failure.tensor
    again = claimed(problem, level.run(problem, target, device(), poison="finite"), target)
    with_nan, with_number = ({claim.tensor: claim.got.detach() for claim in each.claims}[tensor] for each in (failure.checked, again))
    unwritten = is_poison(with_nan, "nan") & is_poison(with_number, "finite")
    if unwritten.any():
        finding = f"{tensor} was not written in {int(unwritten.sum())} of {unwritten.numel()} elements"
        raise failure.turned(NOT_WRITTEN[tensor], finding) from None


def _refused_or_right(case: Case, target: Target, limit: str) -> Agreement:
    """Check a case that ``limit`` puts outside the declaration. An error that loses the CUDA context is no refusal, but a failure."""
    __tracebackhide__ = True
    try:
        return _in_full(case, target)
    except Failure as failure:
        error = failure.__cause__
        refused = isinstance(failure, Raised) and isinstance(error, Exception)
        if refused and not isinstance(error, getattr(torch, "AcceleratorError", ())):
            return Agreement(case, {}, failure.finding)
        raise not_refused(failure, limit) from failure
