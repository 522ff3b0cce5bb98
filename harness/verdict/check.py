"""``check``: one case against one target."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from moefuzz.harness.base.device import device
from moefuzz.harness.base.resources import NoRoom, lack_of_memory, room_noted
from moefuzz.harness.base.signals import end_if_told
from moefuzz.harness.execution.memory import is_poison
from moefuzz.harness.failures import NOT_WRITTEN, Failure, Raised, not_refused
from moefuzz.harness.failures.kinds import Kind
from moefuzz.harness.levels.cases import Case
from moefuzz.harness.levels.experts.oracle import experts_claims, experts_tensors, run_experts
from moefuzz.harness.levels.experts.problem import build_experts
from moefuzz.harness.levels.experts.relations import EXPERTS_RELATIONS
from moefuzz.harness.levels.follow_up import Level, check_follow_ups
from moefuzz.harness.levels.grouped_gemm.oracle import grouped_gemm_claims, grouped_gemm_tensors, run_grouped_gemm
from moefuzz.harness.levels.grouped_gemm.problem import build_grouped_gemm
from moefuzz.harness.levels.grouped_gemm.relations import RELATIONS
from moefuzz.harness.numerics.claims import Claim, judge_all
from moefuzz.harness.targets import BadTarget, Target, UndeclaredCase
from moefuzz.harness.targets.registry import default_target, met
from moefuzz.kernels import triton_interpreter

from . import known_issues
from .isolation import isolation_for
from .journal import now_running
from .kernel_coverage import noted
from .origins import recorded
from .sanitizing import run_watched

triton_interpreter.repair()  # a test's kernel may have been made before, or be made after


@functools.cache
def level_of(name: str) -> Level[Any]:
    if name == "moe_block":  # with transformers, which takes longer to import than all else
        from moefuzz.harness.levels.moe_block.oracle import moe_block_claims, moe_block_tensors, run_moe_block
        from moefuzz.harness.levels.moe_block.problem import build_moe_block
        from moefuzz.harness.levels.moe_block.relations import BLOCK_RELATIONS

        return Level(build_moe_block, run_moe_block, moe_block_tensors, moe_block_claims, BLOCK_RELATIONS)
    if name == "experts":
        return Level(build_experts, run_experts, experts_tensors, experts_claims, EXPERTS_RELATIONS)
    return Level(build_grouped_gemm, run_grouped_gemm, grouped_gemm_tensors, grouped_gemm_claims, RELATIONS)


@dataclass(frozen=True)
class Agreement:
    """A case on which a target is right, and by tensor the largest share of its bound that was used; or one that it rightly refused."""

    case: Case
    shares: dict[str, float]
    refused: str = ""  # outside the declaration: what the target said
    known: str = ""  # the target is wrong as a known issue says, for this reason


def check(case: Case, target: Target | None = None) -> Agreement:
    """Hold a target (our own op by default) against the reference on one case.

    Returns an Agreement, or raises a Failure that says which tensor of which pass disagrees and where. A case outside the target's
    declaration must be right too, or refused with an exception.

    >>> from moefuzz.harness.levels.cases import GroupedGemmCase
    >>> check(GroupedGemmCase(m_sizes=(1, 2), N=3, K=4)).shares
    {'Y': 0.0, 'dX': 0.0, 'dW': 0.0}
    """
    __tracebackhide__ = True
    target = target or default_target(case.level)
    if target.level != case.level:
        raise BadTarget(f"target {target.name!r} is of level {target.level} and cannot run a case of level {case.level}")
    if not target.takes(case):
        raise UndeclaredCase(f"target {target.name!r} does not declare that it takes {case!r}")
    isolation = isolation_for(target)
    met(target)
    end_if_told()
    now_running(case, target.name)
    try:
        with room_noted(), recorded(case, target):
            agreement = check_here(case, target) if isolation is None else isolation.check(case, target)
    except Failure as failure:
        if issue := known_issues.met(case, target.name, failure):
            return Agreement(case, {}, known=issue.reason)
        raise
    known_issues.met(case, target.name, None)
    return agreement


def check_here(case: Case, target: Target) -> Agreement:
    """``check`` of a case that the target takes, in this process, known issues or not. Raises NoRoom where memory could not be had."""
    __tracebackhide__ = True
    limit = target.limit_on(case)
    try:
        with noted(target.name), recorded(case, target):
            return _in_full(case, target) if limit is None else _refused_or_right(case, target, limit)
    except (RuntimeError, MemoryError) as error:
        if lack := lack_of_memory(error):
            raise NoRoom(lack) from error
        raise


def failure_of(case: Case, target: Target | None = None) -> Failure | None:
    """The failure that ``check`` raises, as a value; None where the target is right or does not declare the case, or without room."""
    try:
        check(case, target)
    except Failure as failure:
        return failure
    except (UndeclaredCase, NoRoom):
        return None
    return None


def called(case: Case, target: Target) -> list[Case]:
    """The cases of all calls that a case makes: of a relation, the second's too."""
    if not case.relation:
        return [case]
    level = level_of(case.level)
    problem = level.build(case)
    return [case, *(follow_up.problem.case for follow_up in level.relations[case.relation](problem, target))]


def _in_full(case: Case, target: Target) -> Agreement:
    __tracebackhide__ = True
    level, on = level_of(case.level), device()
    problem = level.build(case)
    result = run_watched(lambda: level.run(problem, target, on), case, target)
    claims = level.claims(problem, result, target)
    again = lambda: level.claims(problem, level.run(problem, target, on, poison="number"), target)
    shares = _judged(claims, again, case, target)
    if case.relation:
        check_follow_ups(level, problem, level.tensors(problem, result), claims, target, on)
    return Agreement(case, shares)


def claims_of(case: Case, target: Target) -> list[Claim]:
    """What must hold for each tensor that a target gives on a case, a relation apart. Raises Failure where it gives none."""
    level = level_of(case.level)
    problem = level.build(case)
    return level.claims(problem, level.run(problem, target, device()), target)


def _refused_or_right(case: Case, target: Target, limit: str) -> Agreement:
    """A case that ``limit`` puts outside the declaration: an error of the CUDA context is no refusal, since it takes everything along."""
    __tracebackhide__ = True
    try:
        return _in_full(case, target)
    except Failure as failure:
        error = failure.__cause__
        refused = isinstance(failure, Raised) and isinstance(error, Exception)
        if refused and not isinstance(error, getattr(torch, "AcceleratorError", ())):
            return Agreement(case, {}, failure.finding)
        raise not_refused(failure, limit) from failure


def _judged(claims: list[Claim], again: Callable[[], list[Claim]], case: Case, target: Target) -> dict[str, float]:
    """Judge what the target gave; NaN that is another number ``again``, with another poison, is memory that it did not write."""
    __tracebackhide__ = True
    try:
        return judge_all(claims, case, target.name)
    except Failure as failure:
        if failure.kind == Kind("NonFinite") and failure.tensor:
            with_nan, with_number = ({claim.tensor: claim.got.detach() for claim in each}[failure.tensor] for each in (claims, again()))
            unwritten = is_poison(with_nan, "nan") & is_poison(with_number, "number")
            if unwritten.any():
                finding = f"{failure.tensor} was not written in {int(unwritten.sum())} of {unwritten.numel()} elements"
                raise NOT_WRITTEN[failure.tensor](case, target.name, finding, failure.mismatch) from None
        raise
