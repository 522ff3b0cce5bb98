"""Strategies for blocks in the proportions of released models, small enough for the interpreter."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from fractions import Fraction

from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument

from moefuzz.harness.levels.moe_block.case import MoeBlockCase
from moefuzz.harness.models.presets import MoeShape, preset
from moefuzz.harness.targets import Target
from moefuzz.kernels.kernel_config import KernelConfig

from .expert_counts import Counts
from .moe_blocks import expert_loads, moe_block_cases

MOST_EXPERTS = 16
_FEW_TILES = KernelConfig(block_m=64, block_n=64, block_k=64)  # smaller tiles would be too many for 16 experts
LARGEST = 64
"""The largest hidden_size and moe_intermediate_size."""


def configs_like(model: str | MoeShape) -> st.SearchStrategy[MoeShape]:
    """Return a strategy for small configurations that keep the proportions of a released model.

    - ``model`` is the id of a preset, or a shape, as ``moefuzz.harness.models.hub.shape_of`` gives it.

    What is kept, in this order:

    1. norm_topk_prob, and num_experts_per_tok = 1 or above it.
    2. Experts per choice, num_experts / num_experts_per_tok, rounded down: 32 of 8 become 8 of 2, 12 of 3 or 16 of 4. Where 2 choices
       would need more than 16 experts, as for every Qwen3, there are 16: a token chooses 2, nearest to that ratio, or as many as it did.
    3. Whole tiles. Sizes shrink with the tiles, from 64 to 16: a multiple of 64 becomes one of 16, another multiple of 16 one of 4 that is
       none of 16, all else no multiple of 4.
    4. Whether 2 * moe_intermediate_size, the rows of gate_up_proj, lies above, at or below hidden_size, and their ratio within a quarter;
       the nearest where none is so near.

    hidden_size and moe_intermediate_size are at most 64, hidden_size at least num_experts. Raises InvalidArgument for an unknown id.

    Drawn example, for "Qwen/Qwen3-30B-A3B": num_experts=16, num_experts_per_tok=2, hidden_size=48, moe_intermediate_size=16.
    """
    shape = _shape(model)
    return st.sampled_from(
        [
            dataclasses.replace(shape, num_experts=E, num_experts_per_tok=topk, hidden_size=H, moe_intermediate_size=size)
            for (H, size), (E, topk) in itertools.product(_sizes(shape), _choices(shape))
            if E <= H
        ]
    )


def blocks_like(model: str | MoeShape, target: Target | None = None) -> st.SearchStrategy[MoeBlockCase]:
    """Return a strategy for MoE blocks in the configurations of ``configs_like``, under any routing.

    - ``target`` bounds them by what it declares, and rounds sizes up to the multiples that it declares.

    Drawn example, for "mistralai/Mixtral-8x7B-v0.1":
    MoeBlockCase(loads=(1, 0, 2, 0, 0, 0, 0, 1), topk=2, hidden_size=16, moe_intermediate_size=48, dtype='bfloat16').
    """
    return configs_like(model).flatmap(functools.partial(_blocks, target))


def _blocks(target: Target | None, shape: MoeShape) -> st.SearchStrategy[MoeBlockCase]:
    return moe_block_cases(
        target,
        loads=_loads(shape.num_experts),
        topk=st.just(shape.num_experts_per_tok),
        hidden_size=st.just(shape.hidden_size),
        moe_intermediate_size=st.just(shape.moe_intermediate_size),
        norm_topk_prob=st.just(shape.norm_topk_prob),
        config=st.just(_FEW_TILES if target is None or target.configurable else KernelConfig()),
    )


def _loads(experts: int) -> Counts:
    """Return a strategy for loads of any regime, padded with zeros until topk needs them; in one half all experts have one token more."""
    drawn = expert_loads() | st.lists(st.integers(0, 5), min_size=1, max_size=MOST_EXPERTS)
    padded = drawn.map(lambda loads: (loads + [0] * experts)[:experts])
    return padded | padded.map(lambda loads: [load + 1 for load in loads])


def _shape(model: str | MoeShape) -> MoeShape:
    if isinstance(model, MoeShape):
        return model
    try:
        return preset(model)
    except ValueError as error:
        raise InvalidArgument(f"{error}; for another model give the MoeShape that moefuzz.harness.models.hub.shape_of finds") from None


def _choices(shape: MoeShape) -> list[tuple[int, int]]:
    """Return pairs of num_experts and num_experts_per_tok, the fewest choices first."""
    most = shape.num_experts_per_tok
    fewest = min(most, 2)
    pairs = [(shape.num_experts * topk // most, topk) for topk in range(fewest, most + 1)]
    kept = [(E, topk) for E, topk in pairs if E <= MOST_EXPERTS]
    return kept or [(MOST_EXPERTS, topk) for topk in sorted({fewest, min(most, MOST_EXPERTS)})]


def _sizes(shape: MoeShape) -> list[tuple[int, int]]:
    """Return pairs of hidden_size and moe_intermediate_size that keep tiles and ratio, the smallest first."""
    wanted = Fraction(2 * shape.moe_intermediate_size, shape.hidden_size)
    above = _sign(2 * shape.moe_intermediate_size - shape.hidden_size)
    fewest = _choices(shape)[0][0]
    pairs = [
        (H, size)
        for H, size in itertools.product(_shrunken(shape.hidden_size), _shrunken(shape.moe_intermediate_size))
        if fewest <= H and _sign(2 * size - H) == above
    ]

    def off(pair: tuple[int, int]) -> Fraction:
        ratio = Fraction(2 * pair[1], pair[0]) / wanted
        return max(ratio, 1 / ratio)

    near = [pair for pair in pairs if off(pair) <= Fraction(5, 4)]
    return sorted(near or [min(pairs, key=off)], key=lambda pair: (sum(pair), pair))


def _shrunken(size: int) -> list[int]:
    """Return the small sizes that are multiples of 16 and of 4 just as ``size`` is one of 64 and of 16."""
    whole = (size % 64 == 0, size % 16 == 0)
    return [small for small in range(1, LARGEST + 1) if (small % 16 == 0, small % 4 == 0) == whole]


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
