"""Run a target of the ``grouped_gemm`` level on a problem, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from moefuzz.harness.execution.guarded_call import guarded_call
from moefuzz.harness.failures import GRAD_MISSING
from moefuzz.harness.targets import CONFIGS, Target

from .problem import GroupedGemmProblem


@dataclass(frozen=True)
class GroupedGemmResult:
    """What a target returned: Y, and the gradients that the case asks for."""

    Y: torch.Tensor  # [M, N]
    dX: torch.Tensor | None  # the shape of X
    dW: torch.Tensor | None  # [E, N, K]


def run_grouped_gemm(
    problem: GroupedGemmProblem, target: Target, device: torch.device, *, poison: str = "nan", backwards: int = 1
) -> GroupedGemmResult:
    """Call the target and its backward pass in guarded and poisoned memory, and return what it computed.

    ``backwards`` passes run on one graph and add to one gradient. Raises the failures Raised, WroteOutside, ReadOutside, InputModified
    and GradMissing.
    """
    __tracebackhide__ = True
    case, rows = problem.case, sum(problem.case.m_sizes)
    placed, arena = problem.placed(device)
    X = placed.X.detach().requires_grad_("X" in case.grads)
    W = placed.W.detach().requires_grad_("W" in case.grads)

    def run() -> tuple[torch.Tensor, bool]:
        Y = target.function(X, W, placed.m_sizes, **keywords_of(placed, target))
        returned = isinstance(Y, torch.Tensor) and Y.shape == placed.dY.shape
        attached = returned and (rows > 0 or Y.requires_grad)  # without rows Y need not be attached to a graph
        for further in reversed(range(backwards if case.grads and attached else 0)):
            Y.backward(placed.dY, retain_graph=further > 0)
        return Y, returned

    Y, returned = guarded_call(run, case, target, device, poison=poison, arena=arena)
    for name, tensor in (("X", X), ("W", W)):
        if name in case.grads and tensor.grad is None and returned and rows:
            raise GRAD_MISSING[f"d{name}"](case, target.name, f"left {name}.grad empty although {name} requires grad")
    return GroupedGemmResult(Y, X.grad, W.grad)


def grouped_gemm_tensors(_: GroupedGemmProblem, result: GroupedGemmResult) -> dict[str, torch.Tensor]:
    """Return, by name, Y and the gradients that the result has."""
    named = {"Y": result.Y, "dX": result.dX, "dW": result.dW}
    return {name: tensor for name, tensor in named.items() if tensor is not None}


def keywords_of(problem: GroupedGemmProblem, target: Target) -> dict[str, object]:
    """Return the keywords with which the target is called on the case; those without effect at their default are left out."""
    case = problem.case
    said: dict[str, object] = {}
    if "topk" in target.keywords:
        said |= {"topk": case.topk}
    if case.permute != "none":
        said |= {f"permute_{case.permute}": True}
        said |= {"is_first_gemm": case.is_first_gemm} if "is_first_gemm" in target.keywords else {}
    if case.fuse_mul_post:
        said |= {"fuse_mul_post": True, "topk_weights": problem.topk_weights}
    if problem.gather_indices is not None:
        said |= {"gather_indices": problem.gather_indices}
    if target.configurable:
        said |= zip(CONFIGS, case.configs, strict=True)
    return said
