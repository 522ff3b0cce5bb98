"""The experts level: planted mistakes are found and minimised, relations are seen broken, and the exact tier is reached."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from moefuzz.harness.levels.cases import DTYPES, EXPERTS_RELATIONS, ExpertsCase
from moefuzz.harness.levels.experts.oracle import AXES, bounds_of
from moefuzz.harness.levels.experts.problem import build_experts
from moefuzz.harness.targets import BadTarget, Target
from moefuzz.harness.targets.registry import load_target
from moefuzz.harness.verdict.check import check, failure_of
from moefuzz.kernels.experts import gated, torch_experts
from moefuzz.strategies import experts_cases
from moefuzz.strategies.regimes import REGIMES
from moefuzz.tests.selftest.support.strategy_checks import minimal_failure

from .test_block_relations import counting, remembering, scaled, twice_the_second_time
from .test_detection_by_tier import SEEN, Contraction, Gemm, sees

Case = ExpertsCase
CASE = Case(loads=(2, 0, 3, 1), topk=2, hidden_size=5, moe_intermediate_size=3, seed=2)


def changed(change: Callable[..., tuple[Any, ...]]) -> Target:
    """The torch twin on changed arguments."""
    return Target("changed", lambda *given: torch_experts(*change(*given)), level="experts")


def exchanged(h: Any, ids: Any, w: Any, gate_up: Any, down: Any, act: Any) -> tuple[Any, ...]:
    return h, ids, w, gate_up.roll(gate_up.shape[1] // 2, 1), down, act


MISTAKES: dict[str, tuple[Callable[..., tuple[Any, ...]], str, Case]] = {
    "takes gate for up": (exchanged, "WrongValue_output", Case(loads=(1,), hidden_size=1, moe_intermediate_size=1)),
    "weighs slots in reverse": (
        lambda h, ids, w, g, d, act: (h, ids, w.flip(0), g, d, act),
        "WrongValue_output",
        Case(loads=(2,), hidden_size=1, moe_intermediate_size=1),
    ),
    "forgets the weights": (
        lambda h, ids, w, g, d, act: (h, ids, torch.ones_like(w), g, d, act),
        "GradMissing_topk_weights_grad",
        Case(loads=(1,), hidden_size=1, moe_intermediate_size=1),
    ),
    "weighs tokens before the experts": (
        lambda h, ids, w, g, d, act: (h * w[:, :1], ids, torch.ones_like(w) + 0 * w, g, d, act),
        "WrongValue_output",
        Case(loads=(1,), hidden_size=1, moe_intermediate_size=1),
    ),
    "takes the next expert's weights": (
        lambda h, ids, w, g, d, act: (h, ids, w, g, d.roll(1, 0), act),
        "WrongValue_output",
        Case(loads=(1, 0), hidden_size=1, moe_intermediate_size=1),
    ),
    "detaches the experts": (
        lambda h, ids, w, g, d, act: (h, ids, w, g.detach(), d, act),
        "GradMissing_gate_up_proj_grad",
        Case(loads=(1,), hidden_size=1, moe_intermediate_size=1),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_and_minimised(mistake: str) -> None:
    change, failure_class, case = MISTAKES[mistake]
    target = changed(change)
    strategy = REGIMES["experts"]["any experts"](target)
    assert strategy is not None
    failure = minimal_failure(strategy, target)
    assert (type(failure).__name__, failure.case) == (failure_class, case)


def experts_of(contraction: Contraction) -> Target:
    """Experts whose two grouped GEMMs use a contraction in all three passes."""

    def experts(h: Any, ids: Any, w: Any, gate_up: Any, down: Any, act: Any) -> Any:
        slots = ids.reshape(-1).argsort(stable=True)
        m_sizes, slot_of = ids.reshape(-1).bincount(minlength=len(down)), slots.argsort()
        first = Gemm.apply(h[slots // ids.shape[1]], gate_up, m_sizes, contraction)  # type: ignore[no-untyped-call]
        rows = Gemm.apply(gated(first, act), down, m_sizes, contraction)  # type: ignore[no-untyped-call]
        return (rows[slot_of].view(*ids.shape, -1) * w[..., None]).sum(1)

    return Target(contraction.__name__, experts, level="experts")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("contraction", SEEN, ids=lambda c: c.__name__)
def test_what_the_carried_bound_sees_of_experts(contraction: Contraction, dtype: str) -> None:
    case = Case(loads=(5, 0, 9, 8), topk=2, hidden_size=40, moe_intermediate_size=17, dtype=dtype)
    failure = failure_of(case, experts_of(contraction))
    assert (failure is not None) == sees(contraction, "bound", dtype), failure


@pytest.mark.parametrize("dtype", DTYPES)
def test_small_whole_numbers_through_relu_leave_no_room(dtype: str) -> None:
    case = Case(loads=(2, 0, 3, 1), topk=2, hidden_size=12, moe_intermediate_size=8, dtype=dtype, act="relu", data="signs")
    bounds = bounds_of(build_experts(case))
    assert all(not getattr(bounds, name).error.any() and getattr(bounds, name).value.any() for name in AXES)


def wrong_experts() -> dict[str, Callable[..., torch.Tensor]]:
    """What breaks one relation alone, of the output, the hidden states and the two weights; with nothing to remember yet."""
    count, seen = counting(), remembering()
    return {
        "repeated": lambda y, h, *w: y if count(y) < 1 else y * 1.0000002,
        "other shapes between": lambda y, h, *w: y * (1 + 2e-7 * seen(w[1][0])),
        "tokens permuted": lambda y, h, *w: y + (h[:1].sum() > 0),
        "foreign weights NaN": lambda y, h, *w: y + 0 * sum(each.sum() for each in w),
        "foreign tokens NaN": lambda y, h, *w: y + 0 * h.sum(),
        "foreign gradients NaN": lambda y, h, *w: scaled(y, lambda grad: 1 + 0 * grad.sum()),
        "fewer gradients": lambda y, h, *w: y if w[0].requires_grad else y + 1,
        "gradients accumulated": lambda y, h, *w: twice_the_second_time(y),
    }


@pytest.mark.parametrize("relation", [name for name in EXPERTS_RELATIONS if name != "other stream"])
def test_experts_that_break_a_relation_alone_are_caught(relation: str) -> None:
    def wrong() -> Target:
        change = wrong_experts()[relation]
        return Target("wrong", lambda *given: change(torch_experts(*given), given[0], *given[3:5]), level="experts")

    related = [dataclasses.replace(CASE, relation=relation, seed=seed) for seed in range(6)]
    unrelated = [dataclasses.replace(case, relation="") for case in related]
    found = [failure for case, plain in zip(related, unrelated, strict=True)
             if failure_of(plain, wrong()) is None and (failure := failure_of(case, wrong()))]  # fmt: skip
    assert found and {failure.kind.base for failure in found} <= {"BrokenRelation", "NonDeterministic", "WrongValue"}


@pytest.mark.parametrize("relation", [name for name in EXPERTS_RELATIONS if name != "other stream"])
def test_the_torch_twin_keeps_every_relation(relation: str) -> None:
    check(dataclasses.replace(CASE, relation=relation), load_target("torch_experts"))


def test_experts_that_take_too_little_are_wrong_usage() -> None:
    with pytest.raises(
        BadTarget, match=r"cannot be called as f\(hidden_states, top_k_index, top_k_weights, gate_up_proj, down_proj, act\)"
    ):
        load_target(f"{__name__}:few")
    with pytest.raises(BadTarget, match="n_multiple is no limit at level experts"):
        Target("t", torch_experts, level="experts", n_multiple=4)


def few(hidden_states: torch.Tensor) -> torch.Tensor:
    return hidden_states


class Fused(torch.autograd.Function):
    """Experts whose backward pass weighs last, as fused kernels do: dA = w (dY W2), dw = sum over I of (dY W2) A, dW2 = dY^T (w A)."""

    @staticmethod
    def forward(ctx: Any, h: Any, ids: Any, w: Any, gate_up: Any, down: Any) -> Any:
        slots = ids.reshape(-1).argsort(stable=True)
        ends = [0, *ids.reshape(-1).bincount(minlength=len(down)).cumsum(0).tolist()]
        tokens, first = slots // ids.shape[1], torch.empty(len(slots), gate_up.shape[1], dtype=h.dtype)
        second = torch.empty(len(slots), h.shape[1])
        for e, (i, j) in enumerate(itertools.pairwise(ends)):
            first[i:j] = (h[tokens[i:j]].float() @ gate_up[e].float().T).to(h.dtype)
            second[i:j] = gated(first[i:j].float(), torch.nn.functional.silu) @ down[e].float().T
        ctx.save_for_backward(h, w, gate_up, down, first, slots, tokens)
        ctx.ends = ends
        return (second * w.reshape(-1)[slots].float()[:, None])[slots.argsort()].view(*ids.shape, h.shape[1]).sum(1).to(h.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (dy,), (h, w, gate_up, down, first, slots, tokens) = grads, ctx.saved_tensors
        gate, up = first.float().chunk(2, 1)
        sigmoid, weight = gate.sigmoid(), w.reshape(-1)[slots].float()[:, None]
        dA, dX = torch.empty(len(slots), down.shape[2]), torch.empty(len(slots), h.shape[1], dtype=h.dtype)
        inter, d_gate_up, d_down = gate * sigmoid * up, torch.zeros_like(gate_up), torch.zeros_like(down)
        spans = list(enumerate(itertools.pairwise(ctx.ends)))
        for e, (i, j) in spans:
            dA[i:j] = dy[tokens[i:j]].float() @ down[e].float()
            d_down[e] = (dy[tokens[i:j]].float().T @ (weight * inter).to(h.dtype)[i:j].float()).to(h.dtype)
        dw = torch.empty_like(w).reshape(-1).index_copy(0, slots, (dA * inter).sum(1).to(w.dtype)).view(w.shape)
        dA = dA * weight
        d_first = torch.cat([dA * (gate * sigmoid * (1 - sigmoid) + sigmoid) * up, dA * gate * sigmoid], 1).to(h.dtype)
        for e, (i, j) in spans:
            dX[i:j] = (d_first[i:j].float() @ gate_up[e].float()).to(h.dtype)
            d_gate_up[e] = (d_first[i:j].float().T @ h[tokens[i:j]].float()).to(h.dtype)
        by_token = dX[slots.argsort()].view(*w.shape, h.shape[1]).float().sum(1).to(h.dtype)
        return by_token, None, dw, d_gate_up, d_down


WEIGHED_FIRST_ALONE_SAYS_NO = Case(
    loads=(0, 0, 2, 0, 0), hidden_size=12, moe_intermediate_size=12, dtype="bfloat16", data="wide", seed=21245
)


@example(WEIGHED_FIRST_ALONE_SAYS_NO)
@given(experts_cases(act=st.just("silu"), data=st.sampled_from(["normal", "wide", "cancelling"])))
def test_experts_that_weigh_last_are_right(case: ExpertsCase) -> None:
    target = Target("fused", lambda *given: Fused.apply(*given[:5]), level="experts")  # type: ignore[no-untyped-call]
    check(case, target)
