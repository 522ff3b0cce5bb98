"""The kernels beside the GEMMs against float64: each result is computed in float32 and rounded once, for any shape and any strides."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from moefuzz.harness.base.device import device
from moefuzz.harness.numerics.recipes import permutation, values
from moefuzz.kernels import experts, sorted_rows
from moefuzz.kernels.grouped_gemm_details.gather_rows import gathered_rows
from moefuzz.kernels.moe_details import elementwise
from moefuzz.kernels.moe_details.combine_rows import rows_of_slots, sum_by_token, weighted_sum
from moefuzz.kernels.moe_details.gated_activation import act_name, gated_activation
from moefuzz.kernels.qwen3_hf import qwen3_block, qwen3_config

DEVICE = device()
ONE_ROUNDING = {torch.float32: 0.0, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
SIZES = st.sampled_from([1, 2, 5, 8, 16, 63, 64, 65, 72, 130, 257, 264])
DTYPES = st.sampled_from(list(ONE_ROUNDING))
LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "contiguous": lambda t: t,
    "transposed": lambda t: t.T.contiguous().T,
    "padded": lambda t: torch.cat((t, t), 1)[:, : t.shape[1]],
    "off by one": lambda t: torch.cat((t.new_zeros(1), t.flatten()))[1:].view(t.shape),
    "one row": lambda t: t[:1].expand(t.shape),
    "one number": lambda t: t[:1, :1].expand(t.shape),
}
NAMES = st.sampled_from(list(LAYOUTS))


def numbers(stream: int, dtype: torch.dtype, *shape: int) -> torch.Tensor:
    return (torch.from_numpy(values("normal", 0, stream, shape)) * 3).to(DEVICE, dtype)


def assert_rounded_once(got: torch.Tensor | None, wanted: torch.Tensor | None, size: float = 1.0) -> None:
    """``wanted`` is float64; ``size`` is how large what was added up is."""
    assert got is not None and wanted is not None and got.shape == wanted.shape
    torch.testing.assert_close(got.double(), wanted, rtol=ONE_ROUNDING[got.dtype] + 1e-5, atol=1e-5 * size, equal_nan=True)


def wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().double().requires_grad_()


@example(130, 257, torch.bfloat16, "silu", "contiguous", "one number")
@example(0, 5, torch.float32, "relu", "contiguous", "contiguous")
@given(SIZES, SIZES, DTYPES, st.sampled_from(["silu", "relu"]), NAMES, NAMES)
def test_a_gated_activation_and_its_gradient(M: int, I: int, dtype: torch.dtype, act: str, layout: str, grad_layout: str) -> None:
    x, dy = LAYOUTS[layout](numbers(0, dtype, M, 2 * I)).requires_grad_(), LAYOUTS[grad_layout](numbers(1, dtype, M, I))
    y = gated_activation(x, act)
    (dx,) = torch.autograd.grad(y, x, dy)
    exact = wide(x)
    wanted = experts.gated(exact, experts.ACTS[act])
    assert (y.dtype, y.is_contiguous(), dx.dtype) == (dtype, True, dtype)
    assert_rounded_once(y, wanted)
    assert_rounded_once(dx, torch.autograd.grad(wanted, exact, dy.double())[0], 30)


@pytest.mark.filterwarnings("error:overflow encountered", "ignore:invalid value encountered")
@pytest.mark.parametrize("act", ["silu", "relu"])
def test_far_gates_and_nan_are_as_in_torch(act: str) -> None:
    gates = torch.tensor([-3e38, -1e4, -200, -90, -0.0, 0, 20, 200, 3e38, float("inf"), float("nan")], device=DEVICE)
    x = torch.cat((gates, torch.full_like(gates, 0.5)))[None].requires_grad_()
    exact = x.detach().clone().requires_grad_()
    y, wanted = gated_activation(x, act), experts.gated(exact, experts.ACTS[act])
    torch.testing.assert_close(y, wanted, equal_nan=True, rtol=1e-5, atol=1e-35)
    dx, wanted_dx = (torch.autograd.grad(result.sum(), leaf)[0] for result, leaf in ((y, x), (wanted, exact)))
    torch.testing.assert_close(dx, wanted_dx, equal_nan=True, rtol=1e-5, atol=1e-35)
    assert dx[0, :9].isfinite().all()


@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_what_a_dead_relu_is_multiplied_by_does_not_matter() -> None:
    x = torch.tensor([[-1.0, 0.0, float("inf"), float("nan")]], device=DEVICE).requires_grad_()
    gated_activation(x, "relu").backward(torch.ones(1, 2, device=DEVICE))
    assert x.grad is not None and x.grad[0, :2].tolist() == [0, 0]


@example(130, 257, 2, torch.bfloat16, torch.float32, "contiguous", "one number", (True, True), True)
@example(0, 8, 3, torch.float32, torch.float32, "contiguous", "contiguous", (True, True), True)
@given(
    SIZES, SIZES, st.integers(1, 8), DTYPES, DTYPES, NAMES, NAMES, st.sampled_from([(True, True), (True, False), (False, True)]),
    st.booleans(),
)  # fmt: skip
def test_a_weighted_sum_and_its_gradients(
    T: int, H: int, topk: int, dtype: torch.dtype, w_dtype: torch.dtype, layout: str, grad_layout: str, wants: tuple[bool, bool],
    gathers: bool,
) -> None:  # fmt: skip
    x, w = LAYOUTS[layout](numbers(0, dtype, T * topk, H)), LAYOUTS[layout](numbers(1, w_dtype, T, topk))
    for leaf, wanted in zip((x, w), wants, strict=True):
        leaf.requires_grad_(wanted)
    dout = LAYOUTS[grad_layout](numbers(2, dtype, T, H))
    exact_x, exact_w = wide(x), wide(w)
    row_of_slot = torch.from_numpy(permutation(0, 3, T * topk)).to(DEVICE, torch.int32) if gathers else None
    slots = exact_x if row_of_slot is None else exact_x[row_of_slot.long()]
    out, exact = weighted_sum(x, w, row_of_slot), (slots.view(T, topk, H) * exact_w[:, :, None]).sum(1)
    assert out.dtype == dtype
    assert_rounded_once(out, exact, 300)
    leaves = [leaf for leaf in (x, w) if leaf.requires_grad]
    got = dict(zip(map(id, leaves), torch.autograd.grad(out, leaves, dout), strict=True))
    dx, dw = torch.autograd.grad(exact, (exact_x, exact_w), dout.double())
    for leaf, wanted_grad, size in ((x, dx, 1), (w, dw, 20 * H)):
        if leaf.requires_grad:
            assert got[id(leaf)].dtype == leaf.dtype
            assert_rounded_once(got[id(leaf)], wanted_grad, size)


@example(0, 4, 2, torch.float32, 0)
@example(130, 257, 3, torch.bfloat16, 1)
@given(SIZES, SIZES, st.integers(1, 8), DTYPES, st.integers(0, 9))
def test_a_slot_without_a_row_adds_nothing_and_reads_nothing(T: int, H: int, topk: int, dtype: torch.dtype, which: int) -> None:
    M = T * topk
    rows = torch.cat((numbers(0, torch.float32, M, H), torch.full((1, H), float("nan"), device=DEVICE)))
    order = numbers(which, torch.float32, M).argsort()
    is_owned = numbers(which + 1, torch.float32, M) > -2
    rows[:M][~is_owned] = float("nan")  # no slot names these
    row_of_slot = torch.full((M,), -1, dtype=torch.int32, device=DEVICE)
    row_of_slot[order[is_owned]] = is_owned.nonzero()[:, 0].int()
    summed = sum_by_token(rows[:M], row_of_slot, topk, dtype)
    exact = torch.zeros(M, H, device=DEVICE, dtype=torch.float64).index_copy_(0, order[is_owned], rows[:M][is_owned].double())
    assert summed.dtype == dtype
    assert_rounded_once(summed, exact.view(T, topk, H).sum(1), 30)


@example([700, 0, 900], 3)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=9), st.integers(0, 5))
def test_slots_know_their_rows_and_what_nobody_owns_is_not_asked(m_sizes: list[int], tail: int) -> None:
    total = sum(m_sizes)
    gather = numbers(0, torch.float32, total + tail).argsort().int()
    expected = torch.full((total + tail,), -1, dtype=torch.int32, device=DEVICE)
    expected[gather[:total].long()] = torch.arange(total, dtype=torch.int32, device=DEVICE)
    gather[total:] = gather[0].item() if total else 1 << 30
    assert torch.equal(rows_of_slots(torch.tensor(m_sizes, dtype=torch.int32, device=DEVICE), gather), expected)


def test_the_tiles_of_a_gpu_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w, dy = numbers(0, torch.float32, 18, 530), numbers(1, torch.float32, 9, 2), numbers(2, torch.float32, 18, 265)

    def results() -> list[torch.Tensor]:
        leaves = x.clone().requires_grad_(), w.clone().requires_grad_()
        y, out = gated_activation(leaves[0], "silu"), weighted_sum(*leaves)
        return [y, out, *torch.autograd.grad(y, leaves[0], dy), *torch.autograd.grad(out, leaves[:1], x[:9])]

    before = results()
    monkeypatch.setattr("moefuzz.kernels.triton_interpreter.in_force", lambda: False)
    assert elementwise.tile_of(265) == (8, 256)
    assert all(map(torch.equal, results(), before))


class NothingRead(TorchDispatchMode):
    """Raises where a value of a tensor is asked for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert "_local_scalar_dense" not in str(func) and "nonzero" not in str(func)
        return func(*args, **(kwargs or {}))


def test_nothing_is_read_back() -> None:
    x, w, sizes = numbers(0, torch.float32, 4, 6).requires_grad_(), numbers(1, torch.float32, 2, 2).requires_grad_(), [3, 0, 1]
    m_sizes, slots = (torch.tensor(numbers, dtype=torch.int32, device=DEVICE) for numbers in (sizes, [2, 0, 3, 1]))
    with NothingRead():  # type: ignore[no-untyped-call]
        gated_activation(x, "silu").sum().backward()
        weighted_sum(x, w).sum().backward()
        sum_by_token(x.detach(), rows_of_slots(m_sizes, slots), 2, torch.float16)


REFUSED: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "odd columns": (lambda: gated_activation(torch.zeros(2, 3), "silu"), ValueError, "first must have shape [M, 2I], got (2, 3)"),
    "another act": (lambda: gated_activation(torch.zeros(2, 4), "gelu"), ValueError, "act must be one of ['silu', 'relu'], got 'gelu'"),
    "float64": (lambda: gated_activation(torch.zeros(2, 4).double(), "silu"), TypeError, "first must be one of"),
    "rows": (lambda: weighted_sum(torch.zeros(5, 3), torch.zeros(2, 2)), ValueError, "[T, topk], got (5, 3) and (2, 2)"),
    "whole weights": (lambda: weighted_sum(torch.zeros(4, 3), torch.zeros(2, 2).int()), TypeError, "floating point, got torch.int32"),
    "device": (lambda: weighted_sum(torch.zeros(4, 3), torch.zeros(2, 2, device="meta")), ValueError, "on the rows' device cpu, got meta"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_with_its_values(name: str) -> None:
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=re.escape(message)):
        call()


def test_what_has_a_kernel_is_known_by_identity() -> None:
    assert [act_name(act) for act in (torch.nn.functional.silu, torch.relu, torch.nn.functional.relu)] == ["silu", "relu", "relu"]
    assert act_name(torch.nn.functional.gelu) is act_name(lambda x: x.clamp(min=0)) is None


def test_experts_of_transformers_with_a_gate_of_their_own_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    module = qwen3_block(qwen3_config(4, 2, 16, 8, True, "silu"), torch.float32, str(DEVICE)).experts
    if not hasattr(module, "_apply_gate"):
        pytest.skip("this version of transformers has no experts implementations")
    used: list[bool] = []
    monkeypatch.setattr(experts, "_experts", lambda *given: used.append(given[-1] is module._apply_gate))
    experts._implementation(module, *[torch.zeros(2, 2)] * 3)
    monkeypatch.setattr(module, "_apply_gate", SimpleNamespace(__func__=None), raising=False)
    experts._implementation(module, *[torch.zeros(2, 2)] * 3)
    assert used == [False, True]


@example(130, 257, 2, 7, torch.bfloat16, "contiguous")
@given(SIZES, SIZES, st.sampled_from([1, 2, 8]), st.sampled_from([0, 1, 7]), DTYPES, NAMES)
def test_rows_that_experts_own_are_sorted_and_no_other_index_is_read(
    T: int, K: int, divisor: int, tail: int, dtype: torch.dtype, layout: str
) -> None:
    x, M = LAYOUTS[layout](numbers(0, dtype, T, K)), T * divisor
    owned = max(0, M - tail)
    slots = torch.from_numpy(permutation(0, 0, M)).to(DEVICE, torch.int32)
    slots[owned:] = torch.iinfo(torch.int32).min
    row_ends = torch.tensor([owned // 2, owned], dtype=torch.int32, device=DEVICE)
    out = gathered_rows(x, slots, row_ends, divisor)
    assert out.shape == (M, K) and torch.equal(out[:owned], x[slots[:owned].long() // divisor])


@example(264, 8, 65, "transposed")
@example(63, 1, 5, "padded")
@example(0, 2, 5, "contiguous")
@given(st.sampled_from([1, 2, 5, 63, 130]), st.sampled_from([1, 2, 8]), SIZES, NAMES)
def test_few_slots_are_sorted_as_many_are(T: int, topk: int, E: int, layout: str) -> None:
    ids = LAYOUTS[layout]((100 * torch.from_numpy(values("normal", 0, 0, (T, topk)))).long() % E).to(DEVICE)
    few = sorted_rows.SortedRows.by_expert(ids, E)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sorted_rows, "FEW", -1)
        many = sorted_rows.SortedRows.by_expert(ids, E)
    for name in ("m_sizes", "gather_indices", "row_of_slot"):
        got, wanted = getattr(few, name), getattr(many, name)
        assert got.dtype == wanted.dtype == torch.int32 and torch.equal(got, wanted), name
