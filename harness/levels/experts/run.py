"""Run a target of the ``experts`` level on a problem, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from moefuzz.harness.execution.guarded_call import guarded_call
from moefuzz.harness.failures import GRAD_MISSING
from moefuzz.harness.targets import Target
from moefuzz.kernels.experts import ACTS

from .problem import ExpertsProblem

DIFFERENTIABLE = {
    "all": ("X", "topk_weights", "gate_up_proj", "down_proj"),
    "frozen experts": ("X", "topk_weights"),
    "experts alone": ("gate_up_proj", "down_proj"),
    "none": (),
}
"""The inputs that require grad, by the value of a case's ``grads``."""


@dataclass(frozen=True)
class ExpertsResult:
    """What a target returned, and the gradients that the case asks for, by the name of their input."""

    output: torch.Tensor  # [T, H]
    grads: dict[str, torch.Tensor]  # each of the shape of its input


def run_experts(problem: ExpertsProblem, target: Target, device: torch.device, *, poison: str = "nan", backwards: int = 1) -> ExpertsResult:
    """Call the target and its backward pass in guarded and poisoned memory, and return what it computed.

    ``backwards`` passes run on one graph and add to one gradient. Raises the failures Raised, WroteOutside, ReadOutside, InputModified
    and GradMissing.
    """
    __tracebackhide__ = True
    case, wanted = problem.case, DIFFERENTIABLE[problem.case.grads]
    placed, arena = problem.placed(device)
    given = {name: getattr(placed, name).detach() for name in ("X", "topk_ids", "topk_weights", "gate_up_proj", "down_proj")}
    leaves = {name: given[name].requires_grad_() for name in wanted}

    def run() -> tuple[torch.Tensor, bool]:
        output = target.function(*given.values(), ACTS[case.act])
        returned = isinstance(output, torch.Tensor) and output.shape == placed.dY.shape
        attached = returned and (case.T > 0 or output.requires_grad)  # without tokens the output need not be attached to a graph
        for further in reversed(range(backwards if wanted and attached else 0)):
            output.backward(placed.dY, retain_graph=further > 0)
        return output, returned

    output, returned = guarded_call(run, case, target, device, poison=poison, arena=arena)
    for name, leaf in leaves.items():
        if leaf.grad is None and returned and case.T:
            raise GRAD_MISSING[f"{name}_grad"](case, target.name, f"left the gradient of {name} empty although it requires grad")
    return ExpertsResult(output, {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None})


def experts_tensors(_: ExpertsProblem, result: ExpertsResult) -> dict[str, torch.Tensor]:
    """Return the output and the gradients that the result has, by the names of their bounds."""
    return {"output": result.output} | {f"{name}_grad": grad for name, grad in result.grads.items()}
