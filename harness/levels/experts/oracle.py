"""The oracle of the ``experts`` level: the reference and the carried bounds of the output and of four gradients."""

from __future__ import annotations

import torch

from moefuzz.harness.numerics.claims import Claim
from moefuzz.harness.numerics.error_analysis import exact
from moefuzz.harness.targets import Target

from .bounds import ExpertsBounds, experts_bounds
from .problem import ExpertsProblem
from .run import ExpertsResult, experts_tensors

AXES = {
    "output": ("token", "column"),
    "X_grad": ("token", "column"),
    "topk_weights_grad": ("token", "choice"),
    "gate_up_proj_grad": ("expert", "row", "column"),
    "down_proj_grad": ("expert", "row", "column"),
}


def experts_claims(problem: ExpertsProblem, result: ExpertsResult, _: Target) -> list[Claim]:
    """Return the claims on the output and on each gradient that the case asks for."""
    bounds = bounds_of(problem)
    carried = {name: getattr(bounds, name) for name in AXES}
    return [
        Claim(name, AXES[name], got, tuple(carried[name].value.shape), carried[name].value, carried[name].error, (None,) * len(AXES[name]))
        for name, got in experts_tensors(problem, result).items()
    ]


def bounds_of(problem: ExpertsProblem) -> ExpertsBounds:
    """Return the carried bounds of a problem."""
    return experts_bounds(
        problem.X, problem.topk_ids.long().numpy(), exact(problem.topk_weights), problem.gate_up_proj, problem.down_proj, problem.dY,
        act=problem.case.act, dtype=getattr(torch, problem.case.dtype),
    )  # fmt: skip
