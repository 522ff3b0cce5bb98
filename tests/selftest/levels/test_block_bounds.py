"""The carried bounds of a whole block: no torch or Hugging Face block lies outside, and the smallest wrong one does.

``pytest -s -k inside`` prints, per tensor, the largest share of the error that an implementation needed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from moefuzz.harness.levels.moe_block.block_passes import run_backward, run_forward
from moefuzz.harness.levels.moe_block.bounds import BlockBounds, block_bounds
from moefuzz.harness.numerics.bounds import reals
from moefuzz.harness.numerics.error_analysis import Bounded, violations
from moefuzz.harness.numerics.recipes import raw_bits, values
from moefuzz.kernels import qwen3_hf
from moefuzz.kernels.reference import expert_segments
from moefuzz.kernels.routing import route, sort_by_expert

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
SMALL: dict[str, Any] = {"E": 4, "topk": 2, "T": 6, "H": 16, "I": 8, "norm": True, "act": "silu"}


def data(seed: int, *shape: int, stream: int = 0, recipe: str = "normal") -> Tensor:
    return torch.from_numpy(values(recipe, seed, stream, shape))


class Problem(NamedTuple):
    tensors: dict[str, Tensor]
    topk: int
    norm: bool
    act: str
    dtype: torch.dtype

    def bounds(self, topk_ids: Tensor | None = None, topk_weights: Tensor | None = None) -> BlockBounds:
        return block_bounds(
            **self.tensors,
            topk=self.topk,
            norm_topk_prob=self.norm,
            act=self.act,
            dtype=self.dtype,
            topk_ids=topk_ids,
            topk_weights=topk_weights,
        )


class Got(NamedTuple):
    topk_ids: Tensor
    tensors: dict[str, Tensor]


def problem(dtype: torch.dtype, seed: int = 0, recipe: str = "normal", **sizes: Any) -> Problem:
    E, topk, T, H, I, norm, act = (SMALL | sizes).values()
    shapes = {"X": (T, H), "gate": (E, H), "gate_up_proj": (E, 2 * I, H), "down_proj": (E, H, I), "dY": (T, H)}
    tensors = {name: data(seed, *shape, stream=i, recipe=recipe).to(dtype) for i, (name, shape) in enumerate(shapes.items())}
    return Problem(tensors, topk, norm, act, dtype)


def problems(dtype: torch.dtype) -> list[Problem]:
    """Thirty problems of all sizes, T = 0, one expert, topk = 1 and topk = E included."""
    made = []
    for seed in range(30):
        bits = raw_bits(seed, 99, (7,)).tolist()
        E = 1 + bits[0] % 4
        sizes = {"E": E, "topk": 1 + bits[1] % E, "T": bits[2] % 8, "H": 8 + bits[3] % 9, "I": 4 + bits[4] % 5}
        made.append(problem(dtype, seed, **sizes, norm=bool(bits[5] & 1), act=("silu", "relu")[bits[6] % 2]))
    return made


def torch_block(p: Problem, fault: str = "", compute: torch.dtype | None = None) -> Got:
    """The loop over experts in the problem's dtype, or in ``compute`` with nothing rounded before the end."""
    leaves = {name: tensor.to(compute or p.dtype).requires_grad_(name != "dY") for name, tensor in p.tensors.items()}
    X, gate, w1, w2, dY = leaves.values()
    logits, act = F.linear(X, gate), getattr(F, p.act)
    weights, ids = route(logits, p.topk, p.norm and fault != "not renormalised")
    m_sizes, order = sort_by_expert(ids, len(gate))
    slots, output, stages = order.long(), torch.zeros_like(X), defaultdict(list)
    for e, rows in expert_segments(m_sizes):
        g = slots[rows]
        first = F.linear(X[g // p.topk], w1[e])
        gate_half, up_half = reversed(first.chunk(2, 1)) if fault == "silu on the up half" else first.chunk(2, 1)
        inter = act(gate_half) * up_half
        second = F.linear(inter, w2[e])
        w = weights.reshape(-1, 1)[rows if fault == "weights in expert order" else g]
        output.index_add_(0, g // p.topk, second * w)
        for name, stage in (("first_gemm", first), ("intermediate", inter), ("second_gemm", second)):
            stages[name].append(stage)
    got = {name: torch.cat(parts) for name, parts in stages.items()} | {"router_logits": logits, "topk_weights": weights, "output": output}
    got["hidden_states_unpermute"] = got["second_gemm"][torch.argsort(slots)]
    X_grad, gate_grad, w1_grad, down_proj_grad = torch.autograd.grad(output, (X, gate, w1, w2), dY)
    gate_proj_grad, up_proj_grad = w1_grad.chunk(2, 1)
    got |= {"X_grad": X_grad, "gate_grad": gate_grad, "down_proj_grad": down_proj_grad}
    got |= {"gate_proj_grad": gate_proj_grad, "up_proj_grad": up_proj_grad}
    return Got(ids, {name: tensor.detach().to(p.dtype) for name, tensor in got.items()})


def hf_block(p: Problem) -> Got:
    X, gate, w1, w2, dY = p.tensors.values()
    config = qwen3_hf.qwen3_config(len(gate), p.topk, X.shape[1], w2.shape[2], p.norm, p.act)
    block = qwen3_hf.qwen3_block(config, p.dtype, "cpu")
    qwen3_hf.set_weights(block, gate, w1, w2)
    forward = run_forward(block, X[None])
    backward = vars(run_backward(block, forward, dY[None]))
    backward["X_grad"] = backward["X_grad"][0]
    logits = forward.router_logits.detach()
    weights, ids = route(logits, p.topk, p.norm)
    return Got(ids, {"router_logits": logits, "topk_weights": weights, "output": forward.output.detach()[0], **backward})


def outside(got: Got, bounds: BlockBounds, dtype: torch.dtype) -> list[str]:
    return [name for name, tensor in got.tensors.items() if violations(tensor, bounds.carried()[name], dtype).any()]


def share_needed(got: Tensor, x: Bounded) -> float:
    """The largest part of the error between the value and what was rounded to ``got``."""
    half_ulp = torch.nextafter(got.abs(), torch.full_like(got, torch.inf)).double() / 2 - got.double().abs() / 2
    share = np.maximum(np.abs(reals(got) - x.value) - half_ulp.numpy(), 0)[x.error > 0] / x.error[x.error > 0]
    return float(share[np.isfinite(share)].max(initial=0.0))


def assert_all_inside(dtype: torch.dtype, run: Callable[[Problem], Got], *, own_weights: bool) -> None:
    needed: dict[str, float] = defaultdict(float)
    for p in problems(dtype):
        got = run(p)
        bounds = p.bounds(got.topk_ids, got.tensors["topk_weights"] if own_weights else None)
        assert not outside(got, bounds, dtype), p
        for name, tensor in got.tensors.items():
            needed[name] = max(needed[name], share_needed(tensor, bounds.carried()[name]))
    print(dtype, *(f"{name} {share:.3f}" for name, share in needed.items()))  # noqa: T201


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_torch_block_lies_inside(dtype: torch.dtype) -> None:
    assert_all_inside(dtype, torch_block, own_weights=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_hf_block_lies_inside(dtype: torch.dtype) -> None:
    assert_all_inside(dtype, hf_block, own_weights=False)


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_a_block_that_rounds_nothing_before_the_end_lies_inside(dtype: torch.dtype) -> None:
    assert_all_inside(dtype, lambda p: torch_block(p, compute=torch.float32), own_weights=False)


def zero_an_expert_gradient(got: Got) -> None:
    got.tensors["down_proj_grad"][got.topk_ids[0, 0]] = 0


def drop_a_contribution(got: Got) -> None:
    got.tensors["output"][0] -= got.tensors["hidden_states_unpermute"][0] * got.tensors["topk_weights"][0, 0]


def replace_a_row(got: Got) -> None:
    got.tensors["second_gemm"][0] = got.tensors["second_gemm"][1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("fault", "tensor"),
    [
        (zero_an_expert_gradient, "down_proj_grad"),
        (drop_a_contribution, "output"),
        (replace_a_row, "second_gemm"),
    ],
)
def test_a_result_changed_in_one_place_is_outside(fault: Callable[[Got], None], tensor: str, dtype: torch.dtype) -> None:
    p = problem(dtype)
    got = torch_block(p)
    fault(got)
    assert outside(got, p.bounds(got.topk_ids), dtype) == [tensor]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("fault", "tensor"),
    [("weights in expert order", "output"), ("silu on the up half", "intermediate"), ("not renormalised", "topk_weights")],
)
def test_a_block_with_a_planted_fault_is_outside(fault: str, tensor: str, dtype: torch.dtype) -> None:
    p = problem(dtype)
    got = torch_block(p, fault)
    assert outside(got, p.bounds(got.topk_ids), dtype)[0] == tensor


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_selected_expert_renormalised_leaves_the_router_no_gradient(dtype: torch.dtype) -> None:
    gradient, not_renormalised = (problem(dtype, topk=1, norm=norm).bounds().gate_grad for norm in (True, False))
    assert not gradient.value.any()
    assert gradient.error.max() < 1e-4 * np.abs(not_renormalised.value).max()


def test_an_expert_without_rows_has_exactly_no_gradient() -> None:
    p = problem(torch.bfloat16)
    bounds = p.bounds(torch.tensor([[0, 1]] * 6))
    for gradient in (bounds.gate_proj_grad, bounds.up_proj_grad, bounds.down_proj_grad):
        assert not gradient.magnitude[2:].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_experts_on_signs_with_relu_and_given_weights_have_no_error(dtype: torch.dtype) -> None:
    p = problem(dtype, recipe="signs", act="relu", I=4, H=8)
    with_error = {name for name, x in p.bounds(topk_weights=torch.tensor([[0.5, 1.0]] * 6)).carried().items() if x.error.any()}
    assert with_error == {"topk_weights", "X_grad", "gate_grad"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_positive_gap_decides_the_routing(dtype: torch.dtype) -> None:
    p = problem(dtype, T=64)
    bounds, chosen = p.bounds(), route(F.linear(p.tensors["X"], p.tensors["gate"]), p.topk, p.norm)[1]
    decided = bounds.router_gap > 0
    assert np.array_equal(np.sort(chosen.numpy())[decided], np.sort(bounds.topk_ids)[decided])
    assert decided.mean() > 0.8


def test_equal_logits_leave_the_routing_open() -> None:
    p = problem(torch.float32)
    p.tensors["gate"][1:] = p.tensors["gate"][0]
    assert (p.bounds().router_gap < 0).all()
    assert (p._replace(topk=4).bounds().router_gap == math.inf).all()


def test_ties_are_ordered_as_the_router_orders_them() -> None:
    p = problem(torch.float32, E=6, topk=6, T=8)
    p.tensors["gate"][:] = p.tensors["gate"][0]
    logits = F.linear(p.tensors["X"].double(), p.tensors["gate"].double())
    assert np.array_equal(p.bounds().topk_ids, torch.topk(logits, p.topk).indices.numpy())
