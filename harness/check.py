"""``check``: one case against one target."""

from __future__ import annotations

from dataclasses import dataclass

from .block_oracle import moe_block_claims, run_moe_block
from .block_problems import build_moe_block
from .cases import Case, MoeBlockCase
from .claims import judge_all
from .device import device
from .failures import Failure
from .grouped_gemm_oracle import grouped_gemm_claims, run_grouped_gemm
from .problems import build_grouped_gemm
from .targets import BadTarget, Target, default_target


@dataclass(frozen=True)
class Agreement:
    """A case on which a target is right, and by tensor the largest share of its bound that was used."""

    case: Case
    shares: dict[str, float]


def check(case: Case, target: Target | None = None) -> Agreement:
    """Hold a target (our own op by default) against the reference on one case.

    Returns an Agreement, or raises a Failure that says which tensor of which pass disagrees and where.

    >>> from moefuzz.harness.cases import GroupedGemmCase
    >>> check(GroupedGemmCase(m_sizes=(1, 2), N=3, K=4)).shares
    {'Y': 0.0, 'dX': 0.0, 'dW': 0.0}
    """
    __tracebackhide__ = True
    level = "moe_block" if isinstance(case, MoeBlockCase) else "grouped_gemm"
    target = target or default_target(level)
    if target.level != level:
        raise BadTarget(f"target {target.name!r} is a {target.level} and cannot run a case for a {level}")
    if isinstance(case, MoeBlockCase):
        block_problem = build_moe_block(case)
        block_result = run_moe_block(block_problem, target, device())
        return Agreement(case, judge_all(moe_block_claims(block_problem, block_result, target), case, target.name))
    problem = build_grouped_gemm(case)
    result = run_grouped_gemm(problem.to(device()), target)
    return Agreement(case, judge_all(grouped_gemm_claims(problem, result, target), case, target.name))


def failure_of(case: Case, target: Target | None = None) -> Failure | None:
    """The failure that ``check`` raises, as a value; None where the target is right."""
    try:
        check(case, target)
    except Failure as failure:
        return failure
    return None
