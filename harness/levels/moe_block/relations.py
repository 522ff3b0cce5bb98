"""Relations at the ``moe_block`` level. A docstring states the relation in one sentence; ``verdict/follow_ups.py`` checks it.

These relations hold bit for bit, or change how a block is run. Those of permuted experts or tokens, of padding and of other tiles hold only
within the bounds, which are checked on every case.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import torch

from moefuzz.harness.levels.edits import others, with_fields
from moefuzz.harness.levels.level import FollowUp, Part, at, by_name, on_another_stream, whole
from moefuzz.harness.levels.routed.edits import foreign_expert, foreign_token
from moefuzz.harness.targets import Target

from .case import BLOCK_RELATIONS
from .oracle import AXES
from .problem import MoeBlockProblem, build_moe_block
from .run import run_moe_block

FollowUps = Iterator[FollowUp[MoeBlockProblem]]
Same = dict[str, tuple[Part, Part]]

_EXPERT_GRADS = ("gate_proj_grad", "up_proj_grad", "down_proj_grad")
_GRADS = ("X_grad", "gate_grad", *_EXPERT_GRADS)
_EVERYTHING: Same = dict.fromkeys(AXES, (whole, whole))


def _of(names: tuple[str, ...], index: torch.Tensor) -> Same:
    return dict.fromkeys(names, (at(index), at(index)))


def repeated(problem: MoeBlockProblem, _: Target) -> FollowUps:
    """The same call gives the same bits in every tensor, whatever the memory held."""
    for poison in ("nan", "finite"):
        yield FollowUp(
            problem, _EVERYTHING, functools.partial(run_moe_block, poison=poison), bitwise=True, check_bounds=False, nondeterminism=True
        )


def other_shapes_between(problem: MoeBlockProblem, target: Target) -> FollowUps:
    """Shapes A, B, A in one process: the second A gives the bits of the first."""
    case = problem.case
    wider = case.moe_intermediate_size + target.multiples(case.dtype)[1]
    loads = (*case.loads[::-1], *(case.T,) * case.topk)  # more experts, of which each token chooses twice as many
    other = with_fields(case, loads=loads, topk=2 * case.topk, moe_intermediate_size=wider)
    yield FollowUp(build_moe_block(other))
    yield FollowUp(problem, _EVERYTHING, bitwise=True, check_bounds=False, nondeterminism=True)


def foreign_weights_nan(problem: MoeBlockProblem, _: Target) -> FollowUps:
    """NaN in one expert's weights reaches the tokens that chose it, the router's gradient and its own, and nothing else."""
    e = foreign_expert(problem)
    gate_up, down = problem.gate_up_proj.clone(), problem.down_proj.clone()
    gate_up[e], down[e] = torch.nan, torch.nan
    tokens, experts = (~problem.chosen[:, int(e)]).nonzero().flatten(), others(problem.case.E, e)
    same = _of(("output", "X_grad"), tokens) | _of(_EXPERT_GRADS, experts) | {"router_logits": (whole, whole)}
    after = dataclasses.replace(problem, gate_up_proj=gate_up, down_proj=down)
    yield FollowUp(after, same, bitwise=True, check_bounds=False)


def foreign_gradients_nan(problem: MoeBlockProblem, _: Target) -> FollowUps:
    """NaN in the gradient of one token's output reaches that token, its experts and the router, and nothing else."""
    if not problem.case.T:
        return
    t = foreign_token(problem)
    dY = problem.dY.clone()
    dY[t] = torch.nan
    experts = (~problem.chosen[int(t)]).nonzero().flatten()
    same = _of(("X_grad",), others(problem.case.T, t)) | _of(_EXPERT_GRADS, experts)
    after = dataclasses.replace(problem, dY=dY)
    yield FollowUp(after, same | {"output": (whole, whole)}, bitwise=True, check_bounds=False)


def batch_reshaped(problem: MoeBlockProblem, _: Target) -> FollowUps:
    """A sequence for each token gives the bits that one sequence of all tokens gives."""
    yield FollowUp(problem, _EVERYTHING, functools.partial(run_moe_block, sequences=True))


def experts_frozen(problem: MoeBlockProblem, _: Target) -> FollowUps:
    """Experts that need no gradient leave everything else as it is."""
    frozen = functools.partial(run_moe_block, frozen_experts=True)
    yield FollowUp(problem, _EVERYTHING, frozen, skip_tensors=_EXPERT_GRADS)


def gradients_accumulated(problem: MoeBlockProblem, _: Target) -> FollowUps:
    """A second backward pass on the same graph adds the same gradients once more."""
    twice = functools.partial(run_moe_block, backwards=2)
    same = _EVERYTHING | dict.fromkeys(_GRADS, (lambda t: 2 * t, whole))
    yield FollowUp(problem, same, twice, bitwise=True, check_bounds=False)


def other_stream(problem: MoeBlockProblem, _: Target) -> FollowUps:
    """A run on a side stream equals one on the default stream."""
    if torch.cuda.is_available():
        yield FollowUp(problem, _EVERYTHING, on_another_stream(run_moe_block))


RELATIONS_BY_NAME = by_name(
    BLOCK_RELATIONS,
    (
        repeated, other_shapes_between, foreign_weights_nan, foreign_gradients_nan, batch_reshaped, experts_frozen, gradients_accumulated,
        other_stream,
    ),
)  # fmt: skip
"""The function of each relation that a case can name."""
