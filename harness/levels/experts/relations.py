"""Relations at the ``experts`` level. A docstring states the relation in one sentence; ``verdict/follow_ups.py`` checks it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import torch

from moefuzz.harness.levels.edits import drawn_permutation, laid_out_like, others, with_fields
from moefuzz.harness.levels.level import FollowUp, Part, at, by_name, on_another_stream, whole
from moefuzz.harness.levels.routed.edits import foreign_expert, foreign_token
from moefuzz.harness.targets import Target

from .case import EXPERTS_GRADS, EXPERTS_RELATIONS
from .oracle import AXES
from .problem import ExpertsProblem, build_experts
from .run import run_experts

FollowUps = Iterator[FollowUp[ExpertsProblem]]
Same = dict[str, tuple[Part, Part]]

_BY_TOKEN = ("output", "X_grad", "topk_weights_grad")
_BY_EXPERT = ("gate_up_proj_grad", "down_proj_grad")
_EVERYTHING: Same = dict.fromkeys(AXES, (whole, whole))


def _of(names: tuple[str, ...], index: torch.Tensor) -> Same:
    return dict.fromkeys(names, (at(index), at(index)))


def repeated(problem: ExpertsProblem, _: Target) -> FollowUps:
    """The same call gives the same bits, whatever the memory held."""
    for poison in ("nan", "finite"):
        yield FollowUp(
            problem, _EVERYTHING, functools.partial(run_experts, poison=poison), bitwise=True, check_bounds=False, nondeterminism=True
        )


def other_shapes_between(problem: ExpertsProblem, target: Target) -> FollowUps:
    """Shapes A, B, A in one process: the second A gives the bits of the first."""
    case = problem.case
    wider = case.moe_intermediate_size + target.multiples(case.dtype)[1]
    loads = (*case.loads[::-1], *(case.T,) * case.topk)  # more experts, of which each token chooses twice as many
    yield FollowUp(build_experts(with_fields(case, loads=loads, topk=2 * case.topk, moe_intermediate_size=wider)))
    yield FollowUp(problem, _EVERYTHING, bitwise=True, check_bounds=False, nondeterminism=True)


def tokens_permuted(problem: ExpertsProblem, _: Target) -> FollowUps:
    """Permuting the tokens permutes their rows, and leaves the gradients of the weights as they are."""
    p = drawn_permutation(problem, problem.case.T)
    moved: dict[str, Any] = {name: laid_out_like(getattr(problem, name), getattr(problem, name)[p]) for name in ("X", "dY")}
    after = dataclasses.replace(problem, topk_ids=problem.topk_ids[p], topk_weights=problem.topk_weights[p], **moved)
    yield FollowUp(after, dict.fromkeys(_BY_TOKEN, (at(p), whole)) | dict.fromkeys(_BY_EXPERT, (whole, whole)))


def foreign_weights_nan(problem: ExpertsProblem, _: Target) -> FollowUps:
    """NaN in one expert's weights reaches the tokens that chose it and its own gradients, and nothing else."""
    e, weights = foreign_expert(problem), dict[str, Any]()
    for name in ("gate_up_proj", "down_proj"):
        with_nan = getattr(problem, name).clone()
        with_nan[e] = torch.nan
        weights[name] = laid_out_like(getattr(problem, name), with_nan)
    tokens = (problem.topk_ids != e).all(1).nonzero().flatten()
    same = _of(_BY_TOKEN, tokens) | _of(_BY_EXPERT, others(problem.case.E, e))
    yield FollowUp(dataclasses.replace(problem, **weights), same, bitwise=True, check_bounds=False)


def foreign_tokens_nan(problem: ExpertsProblem, _: Target) -> FollowUps:
    """NaN in one token's hidden states reaches its own rows and the gradients of its experts, and nothing else."""
    yield from _with_nan(problem, "X")


def foreign_gradients_nan(problem: ExpertsProblem, _: Target) -> FollowUps:
    """NaN in the gradient of one token's output reaches its own gradients and those of its experts, and nothing else."""
    yield from _with_nan(problem, "dY")


def _with_nan(problem: ExpertsProblem, name: str) -> FollowUps:
    if not problem.case.T:
        return
    t = foreign_token(problem)
    tensor = getattr(problem, name).clone(memory_format=torch.contiguous_format)
    tensor[t] = torch.nan
    experts = torch.ones(problem.case.E, dtype=torch.bool).index_fill_(0, problem.topk_ids[int(t)], False).nonzero().flatten()
    same = _of(_BY_TOKEN, others(problem.case.T, t)) | _of(_BY_EXPERT, experts)
    with_nan: dict[str, Any] = {name: laid_out_like(getattr(problem, name), tensor)}
    after = dataclasses.replace(problem, **with_nan)
    yield FollowUp(
        after, same, bitwise=0 not in getattr(problem, name).stride(), check_bounds=False
    )  # an expanded tensor now has another layout


def fewer_gradients(problem: ExpertsProblem, _: Target) -> FollowUps:
    """Any subset of requires_grad gives the same remaining results."""
    for grads in EXPERTS_GRADS[1:] if problem.case.grads == "all" else ("none",):
        yield FollowUp(dataclasses.replace(problem, case=dataclasses.replace(problem.case, grads=grads)), _EVERYTHING)


def gradients_accumulated(problem: ExpertsProblem, _: Target) -> FollowUps:
    """A second backward pass on the same graph adds the same gradients once more."""
    twice = dict.fromkeys((*_BY_TOKEN[1:], *_BY_EXPERT), (lambda t: 2 * t, whole))
    run = functools.partial(run_experts, backwards=2)
    yield FollowUp(problem, _EVERYTHING | twice, run, bitwise=True, check_bounds=False)


def other_stream(problem: ExpertsProblem, _: Target) -> FollowUps:
    """A call on a side stream equals one on the default stream."""
    if torch.cuda.is_available():
        yield FollowUp(problem, _EVERYTHING, on_another_stream(run_experts))


RELATIONS_BY_NAME = by_name(
    EXPERTS_RELATIONS,
    (
        repeated, other_shapes_between, tokens_permuted, foreign_weights_nan, foreign_tokens_nan, foreign_gradients_nan, fewer_gradients,
        gradients_accumulated, other_stream,
    ),
)  # fmt: skip
"""The function of each relation that a case can name."""
