"""The carried bounds: no torch or Hugging Face computation lies outside, and the smallest wrong one does.

``pytest -s -k inside`` prints, per tensor, the largest share of the error that an implementation needed: its distance from the float64
value, less half an ulp of its own last store.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from moefuzz.harness import carried
from moefuzz.harness.block_bounds import BlockBounds, block_bounds
from moefuzz.harness.block_run import run_backward, run_forward
from moefuzz.harness.bounds import rounded
from moefuzz.harness.carried import Carried, exact, violations
from moefuzz.harness.data import raw_bits, values
from moefuzz.kernels import qwen3_hf
from moefuzz.kernels.reference import expert_segments
from moefuzz.kernels.routing import route, sort_by_expert

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
dtypes = st.sampled_from(DTYPES)
seeds = st.integers(0, 2**32)
quick = settings(deadline=None, max_examples=50)
SMALL: dict[str, Any] = {"E": 4, "topk": 2, "T": 6, "H": 16, "I": 8, "norm": True, "act": "silu"}


def data(seed: int, *shape: int, stream: int = 0, recipe: str = "normal") -> Tensor:
    return torch.from_numpy(values(recipe, seed, stream, shape))


def near(x: Carried, seed: int) -> Tensor:
    """Float32 numbers anywhere inside, the ends included."""
    position = data(seed, *x.value.shape, stream=9).double().clamp(-0.5, 0.5) * 2
    got = (x.value + position * x.error).float()
    return torch.where((got - x.value).abs() <= x.error, got, x.value.float())


def some(seed: int, *shape: int, stream: int = 0) -> Carried:
    """Values with an error of up to 1/16, some of them none."""
    error = data(seed, *shape, stream=stream + 20).clamp(min=0) / 16
    return Carried(data(seed, *shape, stream=stream).double(), error.double())


def is_inside(got: Tensor, x: Carried) -> bool:
    """Without the rounded and widened ends of ``violations``."""
    return bool(((got.double() - x.value).abs() <= x.error).all())


def test_float64_rounds_once() -> None:
    x = torch.tensor([1 + 2**-8 + 2**-30], dtype=torch.float64)
    assert (rounded(x, torch.bfloat16) - 1).item() == 2**-7 != (x.to(torch.bfloat16).double() - 1).item()


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_agrees_with_torch_on_every_kind_of_float32(dtype: torch.dtype) -> None:
    x = torch.from_numpy(raw_bits(0, 0, (20000,))).view(torch.float32)
    x = torch.cat((x, torch.tensor([0.0, -0.0, 65519.99, 65520.0, 2.0**-25, 3 * 2.0**-25, 2.0**-134, 3.4e38, torch.inf])))
    torch.testing.assert_close(rounded(x.double(), dtype), x.to(dtype).double(), rtol=0, atol=0, equal_nan=True)


def toward_zero(x: Tensor) -> Tensor:
    """Truncate float64 to float32."""
    nearest = x.float()
    return torch.where(nearest.double().abs() > x.abs(), torch.nextafter(nearest, torch.zeros_like(nearest)), nearest)


def one_by_one(products: Tensor) -> Tensor:
    total = torch.zeros(products.shape[:-1])
    for product in products.unbind(-1):
        total += product.float()
    return total


def truncating(products: Tensor) -> Tensor:
    total = torch.zeros(products.shape[:-1])
    for product in products.unbind(-1):
        total = toward_zero(total.double() + product)
    return total


def pairwise(products: Tensor) -> Tensor:
    terms = products.float()
    while terms.shape[-1] > 1:
        terms = F.pad(terms, (0, terms.shape[-1] % 2))
        terms = terms[..., ::2] + terms[..., 1::2]
    return terms[..., 0]


@pytest.mark.parametrize("accumulate", [one_by_one, truncating, pairwise])
@quick
@given(seed=seeds, depth=st.integers(1, 40), dtype=dtypes, recipe=st.sampled_from(["normal", "cancelling", "integers"]))
def test_any_order_of_accumulation_lies_inside(
    accumulate: Callable[[Tensor], Tensor], seed: int, depth: int, dtype: torch.dtype, recipe: str
) -> None:
    a, b = (data(seed, n, depth, stream=n, recipe=recipe).to(dtype) for n in (2, 3))
    bound = carried.contract(exact(a), exact(b.T), torch.matmul, depth)
    assert is_inside(accumulate(a.double()[:, None] * b.double()), bound)


@pytest.mark.parametrize("name", ["mul", "add", "sub", "div"])
@quick
@given(seed=seeds)
def test_an_operation_on_inputs_inside_lies_inside(name: str, seed: int) -> None:
    a, b = some(seed, 64), some(seed, 64, stream=1)
    assert is_inside(getattr(torch, name)(near(a, seed), near(b, seed + 1)), getattr(carried, name)(a, b))


@quick
@given(seed=seeds, dtype=dtypes, n=st.integers(1, 8))
def test_adds_rounded_in_any_order_lie_inside(seed: int, dtype: torch.dtype, n: int) -> None:
    terms = data(seed, 16, n).to(dtype)
    assert is_inside(terms.sum(1), carried.sum_stored(exact(terms), 1, dtype, n))
    assert is_inside(sum(terms.unbind(1), torch.zeros(16, dtype=dtype)), carried.sum_stored(exact(terms), 1, dtype, n))


@quick
@given(seed=seeds, dtype=dtypes)
def test_a_store_may_round_or_not(seed: int, dtype: torch.dtype) -> None:
    x = some(seed, 64)
    got, stored = near(x, seed), carried.stored(x, dtype)
    assert is_inside(got, stored)
    assert is_inside(got.to(dtype).float(), stored)


def grad_of(act: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(act(x).sum(), x)[0]


@pytest.mark.parametrize("name", ["silu", "relu"])
@pytest.mark.parametrize("scale", [0.001, 1, 16, 300])
@quick
@given(seed=seeds)
def test_an_activation_and_its_gradient_lie_inside(name: str, scale: float, seed: int) -> None:
    x = some(seed, 256)
    x = Carried((x.value * scale).float().double(), x.error * scale)
    act, got = getattr(F, name), near(x, seed)
    assert is_inside(act(got), getattr(carried, name)(x))
    assert is_inside(grad_of(act, got), getattr(carried, f"{name}_grad")(x))


def test_the_derivatives_of_silu_stay_below_their_constants() -> None:
    x = torch.linspace(-40, 40, 400_001, dtype=torch.float64)
    derivatives = carried.silu_slope(x), carried.silu_curve(x), torch.gradient(carried.silu_curve(x), spacing=(x,))[0]
    assert all(derivative.abs().max() <= most for derivative, most in zip(derivatives, (1.1, 0.5, 0.31), strict=True))
    assert (carried.silu_slope(x[x < -2.4]).abs().diff() > 0).all()
    assert (carried.silu_curve(x[x > 4]).abs().diff() < 0).all()


@quick
@given(seed=seeds, n=st.integers(1, 6), spread=st.sampled_from([1, 8, 60]))
def test_softmax_and_its_renormalised_part_lie_inside(seed: int, n: int, spread: int) -> None:
    x = some(seed, 8, n)
    x = Carried((x.value * spread).float().double(), x.error)
    got, ids = near(x, seed), torch.topk(near(x, seed), max(1, n - 1)).indices
    assert is_inside(torch.softmax(got, 1), carried.softmax(x, 1))
    selected = torch.softmax(got, 1).gather(1, ids)
    assert is_inside(selected / selected.sum(1, keepdim=True), carried.softmax(x.map(lambda t: t.gather(1, ids)), 1))


def test_nan_infinity_and_negative_zero_are_judged() -> None:
    x = Carried(*torch.tensor([[0, 0, 0, 7e4, 7e4, 6.5e4, 0], [0, 1, torch.inf, 0, 0, 1e3, 0]]).double())
    got = torch.tensor([-0.0, torch.nan, torch.nan, torch.inf, torch.nan, torch.inf, 2.0**-24])
    assert violations(got, x, torch.float16).tolist() == [False, True, False, False, True, False, True]


@given(seed=seeds, dtype=dtypes)
@quick
def test_sums_of_integers_have_no_error(seed: int, dtype: torch.dtype) -> None:
    a, b = (exact(data(seed, n, 8, stream=n, recipe="integers")) for n in (2, 3))
    products = carried.contract(a, b.map(lambda t: t.T), torch.matmul, 8)
    assert not carried.stored(products, dtype).error.any()
    assert not carried.sum_stored(carried.mul(products, exact(torch.tensor(0.5))), 0, dtype, 2).error.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_contraction_that_drops_its_last_product_is_outside(dtype: torch.dtype) -> None:
    a, b = data(0, 8, 64).to(dtype), data(0, 64, 8, stream=1).to(dtype)
    bound = carried.contract(exact(a), exact(b), torch.matmul, 64)
    assert violations((a[:, :-1].float() @ b[:-1].float()).to(dtype), bound, dtype).any(0).all()


def test_truncating_a_store_is_outside() -> None:
    a, b = data(0, 8, 64, recipe="integers"), data(0, 64, 8, stream=1, recipe="integers") * 16
    bound = carried.contract(exact(a), exact(b), torch.matmul, 64)
    truncated = ((a @ b).view(torch.int32) & -(2**16)).view(torch.float32)
    assert is_inside(a @ b, bound)
    assert violations(truncated, bound, torch.bfloat16).equal(truncated != (a @ b).bfloat16())


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
    E, topk, T, H, I, norm, act = (SMALL | sizes).values()  # noqa: E741
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


def share_needed(got: Tensor, x: Carried) -> float:
    """The largest part of the error between the value and what was rounded to ``got``."""
    half_ulp = torch.nextafter(got.abs(), torch.full_like(got, torch.inf)).double() / 2 - got.double().abs() / 2
    share = ((got.double() - x.value).abs() - half_ulp).clamp(min=0) / x.error
    return share[(x.error > 0) & torch.isfinite(share)].max().item() if (x.error > 0).any() else 0.0


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
    assert gradient.error.max() < 1e-4 * not_renormalised.value.abs().max()


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
    assert torch.equal(chosen.sort().values[decided], bounds.topk_ids.sort().values[decided])
    assert decided.float().mean() > 0.8


def test_equal_logits_leave_the_routing_open() -> None:
    p = problem(torch.float32)
    p.tensors["gate"][1:] = p.tensors["gate"][0]
    assert (p.bounds().router_gap < 0).all()
    assert (p._replace(topk=4).bounds().router_gap == math.inf).all()
