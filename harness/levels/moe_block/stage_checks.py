"""Checks of the results of two blocks against each other, stage by stage: Hugging Face and the torch twin, the twin and Triton.

Two right results lie in the same interval, so they differ by no more than its width, which is the bound of every check here. Each check
raises a Disagreement that names tensor, place, both values and the bound; none returns anything.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from moefuzz.harness.failures import Disagreement
from moefuzz.harness.numerics.bounds import interval
from moefuzz.kernels.qwen3_moe import GroupedGEMMResult

from .block_passes import BackwardResult, ForwardResult
from .bounds import BlockBounds
from .oracle import AXES


def check_tensor_allclose(
    got: torch.Tensor, ref: torch.Tensor, bound: torch.Tensor | float, *, name: str = "tensor", axes: Sequence[str] | None = None
) -> None:
    """Check that |got - ref| <= bound everywhere; equal infinities are allowed, and NaN where the bound is infinite.

    ``bound`` is a number or a tensor of the same shape; there is no relative part. Raises Disagreement.

    >>> check_tensor_allclose(torch.tensor([1.0, 2.5]), torch.tensor([1.0, 2.0]), 0.25, name="Y", axes=("row",))
    Traceback (most recent call last):
    moefuzz.harness.failures.Disagreement: Y differs at row 1: got 2.5, expected 2 within 0.25; 1 of 2 elements differ
    """
    __tracebackhide__ = True
    if got.shape != ref.shape or got.dtype != ref.dtype:
        raise Disagreement(f"{name} must be {ref.dtype} of shape {tuple(ref.shape)}, got {got.dtype} of shape {tuple(got.shape)}")
    a, b = got.detach().cpu().double(), ref.detach().cpu().double()
    bounds = torch.as_tensor(bound, dtype=torch.float64).expand(a.shape)
    wrong = ~((a == b) | ((a - b).abs() <= bounds) | torch.isinf(bounds))
    if not wrong.any():
        return
    distance = torch.where(wrong, torch.nan_to_num((a - b).abs(), nan=torch.inf), -1.0)
    at = tuple(int(i) for i in torch.unravel_index(distance.argmax(), a.shape))
    place = ", ".join(f"{axis} {i}" for axis, i in zip(axes or [f"axis {n}" for n in range(a.dim())], at, strict=True))
    values = f"got {float(a[at]):.9g}, expected {float(b[at]):.9g} within {float(bounds[at]):.3g}"
    raise Disagreement(f"{name} differs at {place}: {values}; {int(wrong.sum())} of {wrong.numel()} elements differ")


def check_fwd(got: ForwardResult, ref: ForwardResult, bounds: BlockBounds) -> None:
    """Check output and router logits."""
    __tracebackhide__ = True
    for name in ("router_logits", "output"):
        _check(name, getattr(got, name), getattr(ref, name), bounds)


def check_grouped_gemm_results(got: GroupedGEMMResult, ref: GroupedGEMMResult, bounds: BlockBounds) -> None:
    """Check every intermediate; a second GEMM that permute_y stored in flat-slot order is compared with the unpermuted rows."""
    __tracebackhide__ = True
    for name in ("token_counts_by_expert", "gather_indices"):
        check_tensor_allclose(getattr(got, name), getattr(ref, name), 0.0, name=name)
    for name in ("topk_weights", "first_gemm", "intermediate", "hidden_states_unpermute"):
        _check(name, getattr(got, name), getattr(ref, name), bounds)
    unsorted = got.second_gemm is got.hidden_states_unpermute
    _check("hidden_states_unpermute" if unsorted else "second_gemm", got.second_gemm, _second(ref, unsorted=unsorted), bounds)
    _check("output", got.hidden_states, ref.hidden_states, bounds)


def check_grads(got: BackwardResult, ref: BackwardResult, bounds: BlockBounds) -> None:
    """Check the gradients of X, router and experts."""
    __tracebackhide__ = True
    _check("X_grad", got.X_grad, ref.X_grad, bounds)
    check_gate_grad(got, ref, bounds)
    check_expert_grads(got, ref, bounds)


def check_gate_grad(got: BackwardResult, ref: BackwardResult, bounds: BlockBounds) -> None:
    """Check the gradient of the router."""
    __tracebackhide__ = True
    _check("gate_grad", got.gate_grad, ref.gate_grad, bounds)


def check_expert_grads(got: BackwardResult, ref: BackwardResult, bounds: BlockBounds) -> None:
    """Check the gradients of all three projections, expert by expert."""
    __tracebackhide__ = True
    check_gate_up_proj_grad(got, ref, bounds)
    check_down_proj_grad(got, ref, bounds)


def check_gate_up_proj_grad(got: BackwardResult, ref: BackwardResult, bounds: BlockBounds) -> None:
    """Check the gradients of gate_proj and up_proj."""
    __tracebackhide__ = True
    for name in ("gate_proj_grad", "up_proj_grad"):
        check_wgrad(name, getattr(got, name), getattr(ref, name), bounds)


def check_down_proj_grad(got: BackwardResult, ref: BackwardResult, bounds: BlockBounds) -> None:
    """Check the gradient of down_proj."""
    __tracebackhide__ = True
    check_wgrad("down_proj_grad", got.down_proj_grad, ref.down_proj_grad, bounds)


def check_wgrad(name: str, got: torch.Tensor, ref: torch.Tensor, bounds: BlockBounds) -> None:
    """Check the gradient of one expert weight, [E, rows, columns]."""
    __tracebackhide__ = True
    _check(name, got, ref, bounds)


def _second(result: GroupedGEMMResult, *, unsorted: bool) -> torch.Tensor:
    return result.hidden_states_unpermute if unsorted else result.second_gemm


def _check(name: str, got: torch.Tensor, ref: torch.Tensor, bounds: BlockBounds) -> None:
    __tracebackhide__ = True
    carried = bounds.carried()[name]
    low, high = interval(carried.value, carried.error, ref.dtype)
    with np.errstate(invalid="ignore"):
        width = np.nan_to_num(high - low, nan=np.inf, posinf=np.inf)
    shape = carried.value.shape
    check_tensor_allclose(got.reshape(shape), ref.reshape(shape), torch.from_numpy(width), name=name, axes=AXES[name])
