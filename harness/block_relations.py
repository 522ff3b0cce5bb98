"""Relations at the ``moe_block`` level: a second run of a block that must hold the same bits as the first, on any data.

Only such relations are here. What follows of permuted experts or tokens, of padding or of other tiles holds within the bounds alone, and
to these every example is held.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from . import cases
from .block_oracle import AXES, BlockResult, run_moe_block, tensors_of
from .block_problems import MoeBlockProblem, build_moe_block
from .grouped_gemm_runs import side_stream
from .problem_edits import drawn_permutation, others, with_fields
from .relations import Part, hold_together, whole
from .targets import Target

Run = Callable[[MoeBlockProblem, Target, torch.device], BlockResult]
Same = dict[str, tuple[Part, Part]]


_EXPERT_GRADS = ("gate_proj_grad", "up_proj_grad", "down_proj_grad")
_GRADS = ("X_grad", "gate_grad", *_EXPERT_GRADS)
_EVERYTHING: Same = dict.fromkeys(AXES, (whole, whole))


@dataclass(frozen=True)
class SecondRun:
    """A second run, and what is the same in it: of each tensor that the block shows, (part of the first's, part of the second's)."""

    problem: MoeBlockProblem
    same: Same
    run: Run = run_moe_block
    nondeterminism: bool = False  # the same call: a difference is no broken relation but nondeterminism


def check_block_relation(problem: MoeBlockProblem, first: BlockResult, target: Target, device: torch.device) -> None:
    """Raise a Failure where the relation that the problem's case names does not hold; ``first`` is the plain run."""
    __tracebackhide__ = True
    before = tensors_of(problem, first)
    for second in BLOCK_RELATIONS[problem.case.relation](problem, target) if target.deterministic else ():
        if target.limit_on(second.problem.case) is not None:
            continue
        after = tensors_of(second.problem, second.run(second.problem, target, device))
        for tensor in [name for name in before if name in second.same]:
            of_first, of_second = second.same[tensor]
            a, b = of_first(before[tensor].detach().cpu()), of_second(after[tensor].detach().cpu())
            hold_together(problem.case, target, tensor, a, b, nondeterminism=second.nondeterminism)


def _of(names: tuple[str, ...], index: torch.Tensor) -> Same:
    return dict.fromkeys(names, (lambda t: t[index],) * 2)


def repeated(problem: MoeBlockProblem, _: Target) -> Iterator[SecondRun]:
    """The same call gives the same bits in every tensor, whatever the memory held."""
    for poison in ("nan", "number"):
        yield SecondRun(problem, _EVERYTHING, functools.partial(run_moe_block, poison=poison), nondeterminism=True)


def other_shapes_between(problem: MoeBlockProblem, target: Target) -> Iterator[SecondRun]:
    """Shapes A, B, A in one process: the second A gives the bits of the first."""
    case = problem.case
    wider = case.moe_intermediate_size + target.multiples(case.dtype)[0]
    loads = (*case.loads[::-1], *(case.T,) * case.topk)  # more experts, of which each token chooses twice as many
    other = with_fields(case, loads=loads, topk=2 * case.topk, moe_intermediate_size=wider)
    yield SecondRun(build_moe_block(other), {})
    yield SecondRun(problem, _EVERYTHING, nondeterminism=True)


def foreign_weights_nan(problem: MoeBlockProblem, _: Target) -> Iterator[SecondRun]:
    """NaN in one expert's weights reaches the tokens that chose it, the router's gradient and its own, and nothing else."""
    e = drawn_permutation(problem, problem.case.E)[:1]
    gate_up, down = problem.gate_up_proj.clone(), problem.down_proj.clone()
    gate_up[e], down[e] = torch.nan, torch.nan
    tokens, experts = (~problem.chosen[:, int(e)]).nonzero().flatten(), others(problem.case.E, e)
    same = _of(("output", "X_grad"), tokens) | _of(_EXPERT_GRADS, experts) | {"router_logits": (whole, whole)}
    yield SecondRun(dataclasses.replace(problem, gate_up_proj=gate_up, down_proj=down), same)


def foreign_gradients_nan(problem: MoeBlockProblem, _: Target) -> Iterator[SecondRun]:
    """NaN in the gradient of one token's output reaches that token, its experts and the router, and nothing else."""
    if not problem.case.T:
        return
    t = drawn_permutation(problem, problem.case.T)[:1]
    dY = problem.dY.clone()
    dY[t] = torch.nan
    experts = (~problem.chosen[int(t)]).nonzero().flatten()
    same = _of(("X_grad",), others(problem.case.T, t)) | _of(_EXPERT_GRADS, experts)
    yield SecondRun(dataclasses.replace(problem, dY=dY), same | {"output": (whole, whole)})


def batch_reshaped(problem: MoeBlockProblem, _: Target) -> Iterator[SecondRun]:
    """A sequence for each token gives the bits that one sequence of all tokens gives."""
    yield SecondRun(problem, _EVERYTHING, functools.partial(run_moe_block, sequences=True))


def experts_frozen(problem: MoeBlockProblem, _: Target) -> Iterator[SecondRun]:
    """Experts that need no gradient get none, and leave everything else as it is."""
    frozen = functools.partial(run_moe_block, frozen_experts=True)
    yield SecondRun(problem, _EVERYTHING | dict.fromkeys(_EXPERT_GRADS, (torch.zeros_like, whole)), frozen)


def gradients_accumulated(problem: MoeBlockProblem, _: Target) -> Iterator[SecondRun]:
    """A second backward pass on the same graph adds the same gradients once more."""
    twice = functools.partial(run_moe_block, backwards=2)
    yield SecondRun(problem, _EVERYTHING | dict.fromkeys(_GRADS, (lambda t: 2 * t, whole)), twice)


def other_stream(problem: MoeBlockProblem, _: Target) -> Iterator[SecondRun]:
    """A run on a side stream equals one on the default stream."""
    if torch.cuda.is_available():
        yield SecondRun(problem, _EVERYTHING, _on_another_stream)


def _on_another_stream(problem: MoeBlockProblem, target: Target, device: torch.device) -> BlockResult:
    with side_stream(device):
        return run_moe_block(problem, target, device)


_FUNCTIONS = {
    relation.__name__: relation
    for relation in (
        repeated, other_shapes_between, foreign_weights_nan, foreign_gradients_nan, batch_reshaped, experts_frozen, gradients_accumulated,
        other_stream,
    )
}  # fmt: skip
BLOCK_RELATIONS = {name: _FUNCTIONS[name.lower().replace(" ", "_")] for name in cases.BLOCK_RELATIONS}
"""The function of each relation that a case can name."""
