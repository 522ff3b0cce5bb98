"""Regimes: named strategies, each for a part of the domain in which a family of bugs is likely.

Each takes the target and returns a strategy, or None if the target declares that it has no such cases. `moefuzz describe` prints the
docstrings.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from moefuzz.harness.levels import cases
from moefuzz.harness.levels.experts.case import ExpertsCase
from moefuzz.harness.levels.grouped_gemm.case import GroupedGemmCase
from moefuzz.harness.levels.moe_block.case import MoeBlockCase
from moefuzz.harness.models.presets import qwen3_blocks
from moefuzz.harness.targets import Target
from moefuzz.kernels.kernel_config import KernelConfig

from .expert_counts import (
    Counts,
    even_counts,
    fewer_rows_than_experts,
    one_expert_takes_all,
    power_law_counts,
    starving_counts,
    tile_edge_counts,
)
from .experts import experts_cases
from .grouped_gemms import CONFIGS, data_recipes, grouped_gemm_cases
from .moe_blocks import moe_block_cases
from .released_models import blocks_like
from .sizes import tile_edge_sizes

Cases = st.SearchStrategy[GroupedGemmCase]
Experts = st.SearchStrategy[ExpertsCase]
Blocks = st.SearchStrategy[MoeBlockCase]


def any_cases(target: Target) -> Cases:
    """Draw everything that the target declares."""
    return grouped_gemm_cases(target)


def exact_cases(target: Target) -> Cases | None:
    """Draw whole numbers so small that every order of accumulation gives the same bits, in all three passes."""
    if target.partial_sums > 1:  # partial sums may be rounded
        return None
    return grouped_gemm_cases(target, data=data_recipes(("integers", "signs", "positive")))


def rounding_cases(target: Target) -> Cases:
    """Draw numbers whose sums round, so that results are compared with a bound and not bit by bit."""
    return grouped_gemm_cases(target, data=data_recipes(("normal", "wide", "cancelling")))


def tile_edge_cases(target: Target) -> Cases:
    """Draw every size at the edge of a tile: rows of each expert, N and K."""
    sizes = tile_edge_sizes(16, smallest=1) | tile_edge_sizes(32, smallest=1, largest=65)
    return grouped_gemm_cases(target, counts=tile_edge_counts(), N=sizes, K=sizes)


def skewed_cases(target: Target) -> Cases:
    """Draw one expert with all rows, experts without any, a power law, fewer rows than experts."""
    skews = st.one_of(one_expert_takes_all(most_experts=33), starving_counts(), fewer_rows_than_experts(), power_law_counts())
    return grouped_gemm_cases(target, counts=skews)


def square_cases(target: Target) -> Cases:
    """Draw N == K, so that no check of shapes detects swapped strides, with weights in any stride."""
    sizes = tile_edge_sizes(16, smallest=1, largest=33)
    return sizes.flatmap(lambda size: grouped_gemm_cases(target, counts=even_counts(most_experts=3), N=st.just(size), K=st.just(size)))


def permuted_cases(target: Target) -> Cases | None:
    """Gather X or scatter Y, with one to eight experts per token."""
    if target.permutes == ("none",):
        return None
    fields = {"permute": st.sampled_from(target.permutes[1:]), "grads": st.sampled_from(cases.GRADS[:3])}
    return grouped_gemm_cases(target, **fields, fuse_mul_post=st.just(False))


def fused_cases(target: Target) -> Cases | None:
    """Apply the routing weight in the epilogue."""
    return grouped_gemm_cases(target, fuse_mul_post=st.just(True)) if target.fuses else None


def tail_cases(target: Target) -> Cases | None:
    """Put NaN in rows beyond the sum of m_sizes; a repeated pass then runs in memory that held them."""
    return grouped_gemm_cases(target, tail_rows=st.integers(1, 40)) if target.tail_rows == "zero" else None


def frozen_cases(target: Target) -> Cases | None:
    """Require grad of some inputs only: frozen experts, or no gradient into the hidden states."""
    drawn = grouped_gemm_cases(target, grads=st.sampled_from(cases.GRADS[1:]), fuse_mul_post=st.just(False))
    return drawn if target.backward else None


def far_cases(target: Target) -> Cases | None:
    """Draw strides of X, W or dY so large, along any axis, that offsets exceed 2**31 elements."""
    if not target.strides:
        return None
    counts = st.lists(st.integers(0, 3), min_size=2, max_size=3)
    fields: dict[str, Any] = dict.fromkeys(("N", "K"), tile_edge_sizes(16, smallest=2, largest=33)) | {"config": st.just(KernelConfig())}
    layouts = itertools.product(("x_layout", "w_layout", "dy_layout"), map(st.just, cases.FAR_AXES))
    return st.one_of([grouped_gemm_cases(target, counts=counts, **fields, **dict([layout])) for layout in layouts])


def large_cases(target: Target) -> Cases:
    """Draw sizes at the edges of tiles of 64 and 128, in the configuration that the target itself chooses, or an aligned one."""
    sizes = tile_edge_sizes(64, smallest=1, largest=129) | tile_edge_sizes(128, smallest=64, largest=257)
    counts = tile_edge_counts(block=64, most_experts=3) | tile_edge_counts(block=128, most_experts=2)
    config = st.sampled_from([None, CONFIGS[-1]] if target.configurable else [None])
    return grouped_gemm_cases(target, counts=counts, N=sizes, K=sizes, config=config)


def outside_cases(target: Target) -> Cases | None:
    """Draw cases beyond one of the limits that the target declares, where it must refuse or be right."""
    return _outside(target, grouped_gemm_cases, counts=_NOTHING, tail_rows=st.just(0))


_NOTHING = st.lists(st.just(0), min_size=1, max_size=3)


def _outside(target: Target, drawn_from: Callable[..., st.SearchStrategy[Any]], **no_rows: Any) -> st.SearchStrategy[Any] | None:
    """Draw cases outside a target's declaration that one wider in a single limit allows; ``no_rows`` are the fields without rows."""
    drawn = []
    for wider in target.wider():
        needs_rows_alone = dataclasses.replace(wider, zero_rows=target.zero_rows) == target
        drawn.append(drawn_from(wider, **(no_rows if needs_rows_alone else {})).filter(lambda case: target.limit_on(case) is not None))
    return st.one_of(drawn) if drawn else None


_FITTING: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "rows in two calls": {"permute": st.just("none"), "fuse_mul_post": st.just(False)},
    "row copied": {"permute": st.just("none"), "fuse_mul_post": st.just(False)},
    "foreign rows NaN": {"is_first_gemm": st.just(False)},
    "fewer gradients": {"grads": st.just("XW"), "fuse_mul_post": st.just(False)},
    "gradients accumulated": {"grads": st.sampled_from(cases.GRADS[:3]), "fuse_mul_post": st.just(False)},
    "strides dropped": {"w_layout": st.sampled_from(cases.LAYOUTS[1:])},
}


def related_cases(target: Target, relation: str | None = None) -> Cases | None:
    """Draw two calls that must agree, in one relation or any that the target has; half are on whole numbers, where bits are compared."""
    names = [name for name in (cases.RELATIONS if relation is None else [relation]) if _has(target, name)]
    data = data_recipes(("integers", "signs", "positive")) | data_recipes()
    fitting = dict(_FITTING)
    if "is_first_gemm" not in target.keywords:  # then X is not gathered alone
        fitting["foreign rows NaN"] = {"permute": st.sampled_from([permute for permute in target.permutes if permute != "x"])}
    fitting |= {"autocast": {"dtype": st.sampled_from([dtype for dtype in target.dtypes if dtype != "float16"])}}
    drawn = [grouped_gemm_cases(target, **{"relation": st.just(name), "data": data, **fitting.get(name, {})}) for name in names]
    return st.one_of(drawn) if drawn else None


def _has(target: Target, relation: str) -> bool:
    declared = {
        "other tiles": target.configurable,
        "strides dropped": target.strides,
        "autocast": target.autocast and target.dtypes != ("float16",),
        "graph replayed": target.capturable,
    }
    return declared.get(relation, True)


def any_experts(target: Target) -> Experts:
    """Draw the experts of every MoE block that the target declares."""
    return experts_cases(target)


def exact_experts(target: Target) -> Experts | None:
    """Draw ReLU and weights that are powers of two, on data so small that most results are the same in every order of accumulation."""
    if "relu" not in target.acts:
        return None
    return experts_cases(target, act=st.just("relu"), data=data_recipes(("signs", "integers")))


def skewed_experts(target: Target) -> Experts:
    """Draw one expert with all tokens, experts without any, a power law, fewer tokens than experts."""
    return experts_cases(target, loads=_skewed_loads())


def square_experts(target: Target) -> Experts:
    """Draw 2I == H, so that no check of shapes distinguishes gate, up and down, with weights in any stride."""
    halves = st.sampled_from([4, 8, 16])
    return halves.flatmap(lambda half: experts_cases(target, hidden_size=st.just(2 * half), moe_intermediate_size=st.just(half)))


def large_experts(target: Target) -> Experts:
    """Draw sizes at the edges of a tile of 64."""
    sizes = tile_edge_sizes(64, smallest=1, largest=129)
    return experts_cases(target, loads=tile_edge_counts(block=64, most_experts=3), hidden_size=sizes, moe_intermediate_size=sizes)


def related_experts(target: Target, relation: str | None = None) -> Experts:
    """Draw two calls that must agree, in one relation or in any; half are with ReLU on small data, where bits are compared."""
    named = st.sampled_from(cases.EXPERTS_RELATIONS if relation is None else [relation])
    exact: dict[str, Any] = {"act": st.just("relu"), "data": st.just("signs")} if "relu" in target.acts else {}
    return experts_cases(target, relation=named) | experts_cases(target, relation=named, **exact)


def outside_experts(target: Target) -> Experts | None:
    """Draw cases beyond one of the limits that the target declares, where it must refuse or be right."""
    return _outside(target, experts_cases, loads=_NOTHING)


def _skewed_loads() -> Counts:
    return st.one_of(
        one_expert_takes_all(most_experts=5),
        starving_counts(largest=8),
        fewer_rows_than_experts(most_experts=8),
        power_law_counts(most_experts=6, largest=12),
    )


def any_blocks(target: Target) -> Blocks:
    """Draw every MoE block that the target declares."""
    return moe_block_cases(target)


def skewed_blocks(target: Target) -> Blocks:
    """Draw one expert with all tokens, experts without any, a power law, fewer tokens than experts."""
    return moe_block_cases(target, loads=_skewed_loads())


def routed_blocks(target: Target) -> Blocks:
    """Draw extreme cases of the router: all logits negative, one choice or every expert, weights renormalised or not."""
    loads = st.lists(st.integers(0, 5), min_size=1, max_size=5)
    return moe_block_cases(target, loads=loads, logits=st.sampled_from(cases.LOGIT_SIGNS[::-1]), topk=st.sampled_from([1, 5]))


def square_blocks(target: Target) -> Blocks:
    """Draw 2I == H, so that no check of shapes distinguishes gate, up and down."""
    halves = st.sampled_from([4, 8, 16])
    return halves.flatmap(lambda half: moe_block_cases(target, hidden_size=st.just(2 * half), moe_intermediate_size=st.just(half)))


def large_blocks(target: Target) -> Blocks:
    """Draw sizes at the edges of a tile of 64, in the configuration that the target itself chooses."""
    sizes, loads = tile_edge_sizes(64, smallest=1, largest=129), tile_edge_counts(block=64, most_experts=3)
    return moe_block_cases(target, loads=loads, hidden_size=sizes, moe_intermediate_size=sizes, config=st.none())


def related_blocks(target: Target, relation: str | None = None) -> Blocks:
    """Draw two runs of a block that must give the same bits, in one relation or in any."""
    return moe_block_cases(target, relation=st.sampled_from(cases.BLOCK_RELATIONS if relation is None else [relation]))


def released_blocks(target: Target) -> Blocks:
    """Draw small blocks in the proportions of all released models in ``harness/models/models.toml`` that a Qwen3 block computes."""
    return st.one_of([blocks_like(shape, target) for shape in qwen3_blocks()])


def outside_blocks(target: Target) -> Blocks | None:
    """Draw cases beyond one of the limits that the target declares, where it must refuse or be right."""
    return _outside(target, moe_block_cases, loads=_NOTHING)


REGIMES: dict[str, dict[str, Callable[[Target], st.SearchStrategy[Any] | None]]] = {
    "grouped_gemm": {
        "any": any_cases,
        "exact": exact_cases,
        "rounding": rounding_cases,
        "tile edge": tile_edge_cases,
        "skewed": skewed_cases,
        "square": square_cases,
        "permuted": permuted_cases,
        "fused": fused_cases,
        "tail": tail_cases,
        "frozen": frozen_cases,
        "far": far_cases,
        "large": large_cases,
        "related": related_cases,
        "outside": outside_cases,
    },
    "experts": {
        "any experts": any_experts,
        "exact experts": exact_experts,
        "skewed experts": skewed_experts,
        "square experts": square_experts,
        "large experts": large_experts,
        "related experts": related_experts,
        "outside experts": outside_experts,
    },
    "moe_block": {
        "any block": any_blocks,
        "skewed block": skewed_blocks,
        "routed block": routed_blocks,
        "square block": square_blocks,
        "large block": large_blocks,
        "related block": related_blocks,
        "released block": released_blocks,
        "outside block": outside_blocks,
    },
}
"""All regimes, by level of target and name."""
