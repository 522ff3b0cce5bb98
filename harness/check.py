"""``check``: one case against one target."""

from __future__ import annotations

from dataclasses import dataclass

from .cases import Case, GroupedGemmCase
from .claims import judge_all
from .device import device
from .failures import Failure
from .grouped_gemm_oracle import grouped_gemm_claims, run_grouped_gemm
from .problems import build_grouped_gemm
from .targets import Target, default_target


@dataclass(frozen=True)
class Agreement:
    """A case on which a target is right, and by tensor the largest share of its bound that was used."""

    case: Case
    shares: dict[str, float]


def check(case: Case, target: Target | None = None) -> Agreement:
    """Hold a target (our own op by default) against the reference on one case.

    Returns an Agreement, or raises a Failure that says which tensor of which pass disagrees and where.

    >>> check(GroupedGemmCase(m_sizes=(1, 2), N=3, K=4)).shares
    {'Y': 0.0, 'dX': 0.0, 'dW': 0.0}
    """
    __tracebackhide__ = True
    target = target or default_target()
    if not isinstance(case, GroupedGemmCase):
        raise TypeError(f"case must be a GroupedGemmCase, got {type(case).__name__}")
    problem = build_grouped_gemm(case)
    result = run_grouped_gemm(problem.to(device()), target)
    return Agreement(case, judge_all(grouped_gemm_claims(problem, result), case, target.name))


def failure_of(case: Case, target: Target | None = None) -> Failure | None:
    """The failure that ``check`` raises, as a value; None where the target is right."""
    try:
        check(case, target)
    except Failure as failure:
        return failure
    return None
