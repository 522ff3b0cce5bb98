"""The test of the tester: which wrong contractions the exact tier and the bound tier reject, at both levels and in every dtype.

Each defect is one way to compute C = A B wrong, used in the forward pass, dX and dW alike; ``right`` ones are not to be rejected. The
table says which tier sees a defect. Whole numbers cannot show partial sums that are rounded to a dtype that holds them, and a float32
contraction is not rounded: what no tier can see is what is not wrong there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from moefuzz.harness.levels.cases import DTYPES, GroupedGemmCase, MoeBlockCase
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.check import failure_of
from moefuzz.kernels.qwen3_moe import Qwen3MoeGroupedGEMMBlock

Contraction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def right(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a.float() @ b.float()).to(a.dtype)


def in_another_order(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(len(a), b.shape[1])
    for k in reversed(range(len(b))):
        total += a[:, k, None].float() * b[k].float()
    return total.to(a.dtype)


def zeros(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return right(a, b) * 0


def two_rows_exchanged(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.cat([right(a, b)[:2].flip(0), right(a, b)[2:]])


def last_k_dropped(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return right(a[:, :-1], b[:-1])


def accumulates_in_bfloat16(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(len(a), b.shape[1])
    for k in range(len(b)):
        total = (total + a[:, k, None].float() * b[k].float()).bfloat16().float()
    return total.to(a.dtype)


def truncates(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    dropped = {torch.bfloat16: 16, torch.float16: 13, torch.float32: 0}[a.dtype]
    return ((a.float() @ b.float()).view(torch.int32) >> dropped << dropped).view(torch.float32).to(a.dtype)


def bfloat16_partials(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    halves = [right(x, y).bfloat16().float() for x, y in zip(a.float().chunk(2, 1), b.float().chunk(2), strict=True)] if len(b) > 1 else []
    return sum(halves, torch.zeros(len(a), b.shape[1])).to(a.dtype) if halves else right(a, b)


def nan_in_one_row(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return right(a, b).index_fill(0, torch.tensor([0]), torch.nan) if len(a) else right(a, b)


class Gemm(torch.autograd.Function):
    """A grouped GEMM by expert, all three of its passes with the same contraction."""

    @staticmethod
    def forward(ctx: Any, X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor, contraction: Contraction) -> torch.Tensor:
        ctx.save_for_backward(X, W)
        ctx.ends, ctx.contraction = [0, *m_sizes.cumsum(0).tolist()], contraction
        return torch.cat([contraction(X[i:j], w.T) for i, j, w in zip(ctx.ends, ctx.ends[1:], W, strict=False)])

    @staticmethod
    def backward(ctx: Any, dY: torch.Tensor) -> Any:
        X, W = ctx.saved_tensors
        spans = list(zip(ctx.ends, ctx.ends[1:], strict=False))
        dX = torch.cat([ctx.contraction(dY[i:j], w) for (i, j), w in zip(spans, W, strict=True)])
        return dX, torch.stack([ctx.contraction(dY[i:j].T, X[i:j]) for i, j in spans]), None, None


def grouped_gemm_of(contraction: Contraction) -> Target:
    def grouped_gemm(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
        return Gemm.apply(X, W, m_sizes, contraction)  # type: ignore[no-any-return, no-untyped-call]

    return Target(contraction.__name__, grouped_gemm)


def block_of(contraction: Contraction) -> Target:
    class Block(Qwen3MoeGroupedGEMMBlock):
        def first_grouped_gemm(self, tokens: Any, m_sizes: Any, gather_indices: Any) -> Any:
            rows = tokens[gather_indices // self.num_experts_per_tok]
            return Gemm.apply(rows, self.gate_up_proj, m_sizes, contraction)  # type: ignore[no-untyped-call]

    return Target(contraction.__name__, Block.from_hf, level="moe_block")


TIERS = {"exact": "integers", "exact, one sign": "positive", "bound": "normal"}
LOW, ALL, NONE = ("bfloat16", "float16"), DTYPES, ()
SEEN: dict[Contraction, tuple[tuple[str, ...], ...]] = {  # by tier, in the order of TIERS
    right: (NONE, NONE, NONE),
    in_another_order: (NONE, NONE, NONE),
    zeros: (ALL, ALL, ALL),
    two_rows_exchanged: (ALL, ALL, ALL),
    last_k_dropped: (ALL, ALL, ALL),
    nan_in_one_row: (ALL, ALL, ALL),
    accumulates_in_bfloat16: (("float32", "float16"), ALL, ALL),
    truncates: (NONE, LOW, LOW),
    bfloat16_partials: (NONE, ALL, ALL),
}


def sees(contraction: Contraction, tier: str, dtype: str) -> bool:
    return dtype in dict(zip(TIERS, SEEN[contraction], strict=True))[tier]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("contraction", SEEN, ids=lambda c: c.__name__)
def test_what_each_tier_sees_of_a_grouped_gemm(contraction: Contraction, tier: str, dtype: str) -> None:
    case = GroupedGemmCase(m_sizes=(5, 0, 31, 8), N=40, K=129, dtype=dtype, data=TIERS[tier])
    failure = failure_of(case, grouped_gemm_of(contraction))
    assert (failure is not None) == sees(contraction, tier, dtype), failure


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("contraction", SEEN, ids=lambda c: c.__name__)
def test_what_the_carried_bound_sees_of_a_block(contraction: Contraction, dtype: str) -> None:
    case = MoeBlockCase(loads=(5, 0, 9, 8), topk=2, hidden_size=40, moe_intermediate_size=17, dtype=dtype)
    failure = failure_of(case, block_of(contraction))
    assert (failure is not None) == sees(contraction, "bound", dtype), failure
