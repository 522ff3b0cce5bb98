"""The carried bounds: no torch or Hugging Face computation lies outside, and the smallest wrong one does.

``pytest -s -k inside`` prints, per tensor, the largest share of the error that an implementation needed: its distance from the float64
value, less half an ulp of its own last store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from moefuzz.harness.numerics import error_analysis
from moefuzz.harness.numerics.bounds import reals, rounded
from moefuzz.harness.numerics.error_analysis import Bounded, exact, violations
from moefuzz.harness.numerics.recipes import raw_bits, values

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
dtypes = st.sampled_from(DTYPES)
seeds = st.integers(0, 2**32)
quick = settings(deadline=None, max_examples=50)
SMALL: dict[str, Any] = {"E": 4, "topk": 2, "T": 6, "H": 16, "I": 8, "norm": True, "act": "silu"}


def data(seed: int, *shape: int, stream: int = 0, recipe: str = "normal") -> Tensor:
    return torch.from_numpy(values(recipe, seed, stream, shape))


def near(x: Bounded, seed: int) -> Tensor:
    """Float32 numbers anywhere inside, the ends included."""
    position = reals(data(seed, *x.value.shape, stream=9).clamp(-0.5, 0.5) * 2)
    got = (x.value + position * x.error).astype(np.float32)
    return torch.from_numpy(np.where(np.abs(got - x.value) <= x.error, got, x.value.astype(np.float32)))


def some(seed: int, *shape: int, stream: int = 0) -> Bounded:
    """Values with an error of up to 1/16, some of them none."""
    error = data(seed, *shape, stream=stream + 20).clamp(min=0) / 16
    return Bounded(reals(data(seed, *shape, stream=stream)), reals(error))


def scaled(x: Bounded, by: float, error_by: float = 1) -> Bounded:
    """Values that float32 holds."""
    return Bounded((x.value * by).astype(np.float32).astype(np.float64), x.error * error_by)


def is_inside(got: Tensor, x: Bounded) -> bool:
    """Without the rounded and widened ends of ``violations``."""
    return bool((np.abs(reals(got) - x.value) <= x.error).all())


def test_float64_rounds_once() -> None:
    x = np.array([1 + 2**-8 + 2**-30])
    assert rounded(x, torch.bfloat16).item() - 1 == 2**-7 != torch.from_numpy(x).to(torch.bfloat16).item() - 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_agrees_with_torch_on_every_kind_of_float32(dtype: torch.dtype) -> None:
    x = torch.from_numpy(raw_bits(0, 0, (20000,))).view(torch.float32)
    x = torch.cat((x, torch.tensor([0.0, -0.0, 65519.99, 65520.0, 2.0**-25, 3 * 2.0**-25, 2.0**-134, 3.4e38, torch.inf])))
    with np.errstate(invalid="ignore"):
        assert np.array_equal(rounded(reals(x), dtype), reals(x.to(dtype)), equal_nan=True)


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
    bound = error_analysis.contract(exact(a), exact(b.T), np.matmul, depth)
    assert is_inside(accumulate(a.double()[:, None] * b.double()), bound)


@pytest.mark.parametrize("name", ["mul", "add", "sub", "div"])
@quick
@given(seed=seeds)
def test_an_operation_on_inputs_inside_lies_inside(name: str, seed: int) -> None:
    a, b = some(seed, 64), some(seed, 64, stream=1)
    assert is_inside(getattr(torch, name)(near(a, seed), near(b, seed + 1)), getattr(error_analysis, name)(a, b))


@quick
@given(seed=seeds, dtype=dtypes, n=st.integers(1, 8))
def test_adds_rounded_in_any_order_lie_inside(seed: int, dtype: torch.dtype, n: int) -> None:
    terms = data(seed, 16, n).to(dtype)
    assert is_inside(terms.sum(1), error_analysis.sum_stored(exact(terms), 1, dtype, n))
    assert is_inside(sum(terms.unbind(1), torch.zeros(16, dtype=dtype)), error_analysis.sum_stored(exact(terms), 1, dtype, n))


@quick
@given(seed=seeds, dtype=dtypes)
def test_a_store_may_round_or_not(seed: int, dtype: torch.dtype) -> None:
    x = some(seed, 64)
    got, stored = near(x, seed), error_analysis.stored(x, dtype)
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
    x = scaled(some(seed, 256), scale, scale)
    act, got = getattr(F, name), near(x, seed)
    assert is_inside(act(got), getattr(error_analysis, name)(x))
    assert is_inside(grad_of(act, got), getattr(error_analysis, f"{name}_grad")(x))


def test_the_derivatives_of_silu_stay_below_their_constants() -> None:
    x = np.linspace(-40, 40, 400_001)
    derivatives = error_analysis.silu_slope(x), error_analysis.silu_curve(x), np.gradient(error_analysis.silu_curve(x), x)
    assert all(np.abs(derivative).max() <= most for derivative, most in zip(derivatives, (1.1, 0.5, 0.31), strict=True))
    assert (np.diff(np.abs(error_analysis.silu_slope(x[x < -2.4]))) > 0).all()
    assert (np.diff(np.abs(error_analysis.silu_curve(x[x > 4]))) < 0).all()


def test_a_sigmoid_is_right_where_an_exponential_overflows() -> None:
    x = np.array([-800.0, -700.0, -1.0, 0.0, 1.0, 40.0, 800.0])
    np.testing.assert_allclose(error_analysis.sigmoid(x), torch.sigmoid(torch.from_numpy(x)).numpy(), rtol=2**-50)


@quick
@given(seed=seeds, n=st.integers(1, 6), spread=st.sampled_from([1, 8, 60]))
def test_softmax_and_its_renormalised_part_lie_inside(seed: int, n: int, spread: int) -> None:
    x = scaled(some(seed, 8, n), spread)
    got, ids = near(x, seed), torch.topk(near(x, seed), max(1, n - 1)).indices
    assert is_inside(torch.softmax(got, 1), error_analysis.softmax(x, 1))
    selected = torch.softmax(got, 1).gather(1, ids)
    assert is_inside(
        selected / selected.sum(1, keepdim=True), error_analysis.softmax(x.map(lambda t: np.take_along_axis(t, ids.numpy(), 1)), 1)
    )


def test_nan_infinity_and_negative_zero_are_judged() -> None:
    x = Bounded(*np.array([[0, 0, 0, 7e4, 7e4, 6.5e4, 0], [0, 1, np.inf, 0, 0, 1e3, 0]]))
    got = torch.tensor([-0.0, torch.nan, torch.nan, torch.inf, torch.nan, torch.inf, 2.0**-24])
    assert violations(got, x, torch.float16).tolist() == [False, True, False, False, True, False, True]


@given(seed=seeds, dtype=dtypes)
@quick
def test_sums_of_integers_have_no_error(seed: int, dtype: torch.dtype) -> None:
    a, b = (exact(data(seed, n, 8, stream=n, recipe="integers")) for n in (2, 3))
    products = error_analysis.contract(a, b.map(np.transpose), np.matmul, 8)
    assert not error_analysis.stored(products, dtype).error.any()
    assert not error_analysis.sum_stored(error_analysis.mul(products, exact(torch.tensor(0.5))), 0, dtype, 2).error.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_contraction_that_drops_its_last_product_is_outside(dtype: torch.dtype) -> None:
    a, b = data(0, 8, 64).to(dtype), data(0, 64, 8, stream=1).to(dtype)
    bound = error_analysis.contract(exact(a), exact(b), np.matmul, 64)
    assert violations((a[:, :-1].float() @ b[:-1].float()).to(dtype), bound, dtype).any(0).all()


def test_truncating_a_store_is_outside() -> None:
    a, b = data(0, 8, 64, recipe="integers"), data(0, 64, 8, stream=1, recipe="integers") * 16
    bound = error_analysis.contract(exact(a), exact(b), np.matmul, 64)
    truncated = ((a @ b).view(torch.int32) & -(2**16)).view(torch.float32)
    assert is_inside(a @ b, bound)
    assert violations(truncated, bound, torch.bfloat16).tolist() == (truncated != (a @ b).bfloat16()).tolist()
