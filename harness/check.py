"""``check``: one case against one target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .block_oracle import moe_block_claims, run_moe_block
from .block_problems import build_moe_block
from .block_relations import check_block_relation
from .cases import Case, GroupedGemmCase, MoeBlockCase
from .claims import Claim, judge_all
from .device import device
from .failures import NOT_WRITTEN, Failure, Raised, not_refused
from .grouped_gemm_oracle import grouped_gemm_claims, run_grouped_gemm
from .memory import is_poison
from .problems import build_grouped_gemm
from .relations import check_relation
from .targets import BadTarget, Target, UndeclaredCase, default_target


@dataclass(frozen=True)
class Agreement:
    """A case on which a target is right, and by tensor the largest share of its bound that was used; or one that it rightly refused."""

    case: Case
    shares: dict[str, float]
    refused: str = ""  # outside the declaration: what the target said


def check(case: Case, target: Target | None = None) -> Agreement:
    """Hold a target (our own op by default) against the reference on one case.

    Returns an Agreement, or raises a Failure that says which tensor of which pass disagrees and where. A case outside the target's
    declaration must be right too, or refused with an exception.

    >>> from moefuzz.harness.cases import GroupedGemmCase
    >>> check(GroupedGemmCase(m_sizes=(1, 2), N=3, K=4)).shares
    {'Y': 0.0, 'dX': 0.0, 'dW': 0.0}
    """
    __tracebackhide__ = True
    level = "moe_block" if isinstance(case, MoeBlockCase) else "grouped_gemm"
    target = target or default_target(level)
    if target.level != level:
        raise BadTarget(f"target {target.name!r} is a {target.level} and cannot run a case for a {level}")
    if not target.takes(case):
        raise UndeclaredCase(f"target {target.name!r} does not declare that it takes {case!r}")
    limit = target.limit_on(case)
    return _in_full(case, target) if limit is None else _refused_or_right(case, target, limit)


def failure_of(case: Case, target: Target | None = None) -> Failure | None:
    """The failure that ``check`` raises, as a value; None where the target is right, or does not declare that it takes the case."""
    try:
        check(case, target)
    except Failure as failure:
        return failure
    except UndeclaredCase:
        return None
    return None


def _in_full(case: Case, target: Target) -> Agreement:
    __tracebackhide__ = True
    return _check_moe_block(case, target) if isinstance(case, MoeBlockCase) else _check_grouped_gemm(case, target)


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


def _check_grouped_gemm(case: GroupedGemmCase, target: Target) -> Agreement:
    __tracebackhide__ = True
    problem = build_grouped_gemm(case)
    result = run_grouped_gemm(problem, target, device())
    claims = grouped_gemm_claims(problem, result, target)
    again = lambda: grouped_gemm_claims(problem, run_grouped_gemm(problem, target, device(), poison="number"), target)
    shares = _judged(claims, again, case, target)
    if case.relation:
        check_relation(problem, result, claims, target, device())
    return Agreement(case, shares)


def _check_moe_block(case: MoeBlockCase, target: Target) -> Agreement:
    __tracebackhide__ = True
    problem = build_moe_block(case)
    result = run_moe_block(problem, target, device())
    claims = moe_block_claims(problem, result, target)
    again = lambda: moe_block_claims(problem, run_moe_block(problem, target, device(), poison="number"), target)
    shares = _judged(claims, again, case, target)
    if case.relation:
        check_block_relation(problem, result, target, device())
    return Agreement(case, shares)


def _judged(claims: list[Claim], again: Callable[[], list[Claim]], case: Case, target: Target) -> dict[str, float]:
    """Judge what the target gave; NaN that is another number ``again``, with another poison, is memory that it did not write."""
    __tracebackhide__ = True
    try:
        return judge_all(claims, case, target.name)
    except Failure as failure:
        if failure.kind == "NonFinite" and failure.tensor:
            with_nan, with_number = ({claim.tensor: claim.got.detach() for claim in each}[failure.tensor] for each in (claims, again()))
            unwritten = is_poison(with_nan, "nan") & is_poison(with_number, "number")
            if unwritten.any():
                finding = f"{failure.tensor} was not written in {int(unwritten.sum())} of {unwritten.numel()} elements"
                raise NOT_WRITTEN[failure.tensor](case, target.name, finding, failure.mismatch) from None
        raise
