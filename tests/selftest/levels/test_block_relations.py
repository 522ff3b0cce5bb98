"""Relations between two runs of a block: each catches a block that breaks it alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from moefuzz.harness.levels.cases import BLOCK_RELATIONS, MoeBlockCase
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.check import check, failure_of

CASE = MoeBlockCase(loads=(2, 0, 3, 1), topk=2, hidden_size=5, moe_intermediate_size=3, seed=2)


class Scaled(torch.autograd.Function):
    """The identity forward; backward multiplied by what ``by`` says of the gradient."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, by: Callable[[torch.Tensor], Any]) -> torch.Tensor:
        ctx.by = by
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        return grads[0] * ctx.by(grads[0]), None


def scaled(y: torch.Tensor, by: Callable[[torch.Tensor], Any]) -> torch.Tensor:
    """y, whose gradient is multiplied by what ``by`` says of it."""
    out: torch.Tensor = Scaled.apply(y, by)  # type: ignore[no-untyped-call]
    return out


class Wrong(nn.Module):
    """Hugging Face's block with a change of what it puts out."""

    def __init__(self, block: Any, change: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.block, self.change = block, change

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output = self.block(x)
        return self.change(output[0] if isinstance(output, tuple) else output, x, list(self.block.experts.parameters()))


def counting() -> Callable[[object], int]:
    """How often it was called before."""
    calls = iter(range(1000))
    return lambda _: next(calls)


def remembering() -> Callable[[torch.Tensor], bool]:
    """Whether any other call had more columns."""
    widths: list[int] = []

    def seen(x: torch.Tensor) -> bool:
        widths.append(x.shape[-1])
        return max(widths) > x.shape[-1]

    return seen


def twice_the_second_time(y: torch.Tensor) -> torch.Tensor:
    count = counting()
    return scaled(y, lambda _: 1 + count(_))


def wrong_blocks() -> dict[str, Callable[..., torch.Tensor]]:
    count, seen = counting(), remembering()
    return {
        "repeated": lambda y, x, w: y if count(y) < 1 else y * 1.0000002,
        "other shapes between": lambda y, x, w: y * (1 + 2e-7 * seen(x)),
        "foreign weights NaN": lambda y, x, w: y + 0 * sum(each.sum() for each in w),
        "foreign gradients NaN": lambda y, x, w: scaled(y, lambda grad: 1 + 0 * grad.sum()),
        "batch reshaped": lambda y, x, w: y if x.shape[1] > 1 else y.roll(1, 0),
        "experts frozen": lambda y, x, w: y if w[0].requires_grad else y.detach() + 0 * x,
        "gradients accumulated": lambda y, x, w: twice_the_second_time(y),
    }


def wrong(relation: str) -> Target:
    """A target that breaks this relation, with nothing to remember yet."""
    change = wrong_blocks()[relation]
    return Target("wrong", lambda block: Wrong(block, change), level="moe_block")


@pytest.mark.parametrize("relation", [name for name in BLOCK_RELATIONS if name != "other stream"])
def test_a_block_that_breaks_a_relation_alone_is_caught(relation: str) -> None:
    assert failure_of(CASE, wrong(relation)) is None
    related = [dataclasses.replace(CASE, relation=relation, seed=seed) for seed in range(4)]
    found = [failure for case in related if (failure := failure_of(case, wrong(relation)))]
    assert found and {str(failure.kind) for failure in found} <= {"BrokenRelation", "NonDeterministic", "WrongValue", "Raised RuntimeError"}


@pytest.mark.parametrize("relation", [name for name in BLOCK_RELATIONS if name != "other stream"])
def test_hugging_faces_block_keeps_every_relation(relation: str) -> None:
    check(dataclasses.replace(CASE, relation=relation), Target("right", lambda block: block, level="moe_block"))
