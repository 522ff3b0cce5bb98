"""Other ways to make the same call of a grouped GEMM: other poison, a second backward pass, autocast, a side stream, a replayed graph."""

from __future__ import annotations

import functools

import torch
from triton.compiler.errors import CompilationError

from moefuzz.harness.base.device import side_stream
from moefuzz.harness.failures import Failure, failure_from_exception
from moefuzz.harness.targets import Target

from .problem import GroupedGemmProblem
from .run import GroupedGemmResult, keywords_of, run_grouped_gemm

with_another_poison = functools.partial(run_grouped_gemm, poison="finite")
twice_on_one_graph = functools.partial(run_grouped_gemm, backwards=2)


def under_autocast(problem: GroupedGemmProblem, target: Target, device: torch.device) -> GroupedGemmResult | None:
    """Make the call under autocast to bfloat16; return None where the target refuses other dtypes."""
    try:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return run_grouped_gemm(problem, target, device)
    except Failure as failure:
        error = failure.__cause__
        refused = isinstance(error, _REFUSALS) and not isinstance(error, getattr(torch, "AcceleratorError", ()))
        if refused and problem.X.dtype is not torch.bfloat16:
            return None
        raise


_REFUSALS = (TypeError, ValueError, NotImplementedError, RuntimeError, AssertionError, CompilationError)


def replayed(problem: GroupedGemmProblem, target: Target, device: torch.device) -> GroupedGemmResult:
    """Capture the call as a CUDA graph with other loads and rows, replay it with the problem's own; return the result. Raises Raised."""
    case = problem.case
    placed, _ = problem.placed(device)
    X, W = placed.X.detach().requires_grad_("X" in case.grads), placed.W.detach().requires_grad_("W" in case.grads)
    leaves = [tensor for tensor in (X, W) if tensor.requires_grad]

    def call() -> tuple[torch.Tensor, ...]:
        Y = target.function(X, W, placed.m_sizes, **keywords_of(placed, target))
        return (Y, *(torch.autograd.grad(Y, leaves, placed.dY) if leaves else ()))

    contents = placed.X.clone(), placed.m_sizes.clone()
    placed.X.copy_(placed.X.roll(1, 0))
    placed.m_sizes.copy_(placed.m_sizes.roll(1))
    try:
        with side_stream(device):
            call()  # compile and tune before the capture
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            Y, *grads = call()
        for tensor, original in zip((placed.X, placed.m_sizes), contents, strict=True):
            tensor.copy_(original)
        graph.replay()
    except Exception as error:
        raise failure_from_exception(case, target.name, error) from error
    of = dict(zip(case.grads, grads, strict=True))
    return GroupedGemmResult(Y.clone(), of.get("X"), of.get("W"))
