"""Strategies for cases of level ``moe_block``: Qwen3 configurations small enough for the interpreter, and routings with a drawn skew."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from moefuzz.harness.base.case import round_up
from moefuzz.harness.levels import cases
from moefuzz.harness.levels.moe_block.case import MoeBlockCase
from moefuzz.harness.targets import Target
from moefuzz.kernels.kernel_config import KernelConfig

from .case_builder import fitted_cases
from .expert_counts import (
    Counts,
    even_counts,
    fewer_rows_than_experts,
    free_counts,
    one_expert_takes_all,
    power_law_counts,
    starving_counts,
)
from .grouped_gemms import CONFIGS, data_recipes, seeds
from .sizes import tile_edge_sizes, token_counts

TOPK = (1, 2, 1, 1, 2, 3, 8)
"""Experts per token, mostly fewer than there are experts: if each token chooses every expert there is no routing."""

RECIPES = ("normal", *(recipe for recipe in cases.BLOCK_RECIPES if recipe != "normal"))
"""Data recipes; "normal" is first, since few whole numbers stay whole through a block."""


def with_a_token(target: Target, loads: Sequence[int]) -> Sequence[int]:
    """Return the loads, with one token added if they have none and the target needs one."""
    return loads if any(loads) or target.zero_rows else [*loads[:-1], 1]


def expert_loads() -> Counts:
    """Return a strategy for how many tokens choose each expert: even, one takes all, starving, a power law, fewer tokens, odd T.

    The case fills the loads up to a multiple of topk. Drawn examples: [0], [3, 1, 0, 2], [0, 0, 9].
    """
    return st.one_of(
        free_counts(most_experts=6, largest=8),
        even_counts(most_experts=6, largest=8),
        one_expert_takes_all(most_experts=5, largest=17),
        starving_counts(most_experts=6, largest=8),
        power_law_counts(most_experts=6, largest=17),
        fewer_rows_than_experts(most_experts=8),
        token_counts(largest=17).map(lambda T: [T, 0, 0]),
    )


def moe_block_cases(target: Target | None = None, *, loads: Counts | None = None, **fields: Any) -> st.SearchStrategy[MoeBlockCase]:
    """Return a strategy for MoE blocks that a target must get right.

    - ``target`` bounds them by what it declares, defaulting to everything that a case can say.
    - ``loads`` replaces the expert loads, and each of ``fields`` the strategy of one field of MoeBlockCase.

    What a shrunken Qwen3 keeps: topk far below E and up to E, 2I above, below and equal to H, norm_topk_prob both ways.

    Drawn example: MoeBlockCase(loads=(4, 0, 1, 3), topk=2, hidden_size=17, dtype='bfloat16', permute_y=True, seed=5).
    """
    permutes = target is None or {"permute_x", "permute_y"} <= target.keywords
    sizes = st.integers(1, 12) | tile_edge_sizes(16, smallest=1, largest=17)
    drawn: dict[str, st.SearchStrategy[Any] | Sequence[Any]] = {
        "topk": TOPK,
        "hidden_size": sizes,
        "moe_intermediate_size": st.integers(1, 9) | st.sampled_from([16, 17]),
        "norm_topk_prob": [True, False],
        "dtype": cases.DTYPES if target is None else target.dtypes,
        "act": cases.ACTS if target is None else target.acts,
        "logits": cases.LOGIT_SIGNS,
        "order": ["sorted", "shuffled"],
        "permute_x": st.booleans() if permutes else [False],
        "permute_y": st.booleans() if permutes else [False],
        "config": CONFIGS[:3] if target is None or target.configurable else [KernelConfig()],
        "data": data_recipes(RECIPES),
        "seed": seeds(),
    }
    fitted = MoeBlockCase.fitted if target is None else functools.partial(_fitted, target)
    return fitted_cases(fitted, {"loads": expert_loads() if loads is None else loads}, {**drawn, **fields})


def _fitted(target: Target, *, loads: Sequence[int], **fields: Any) -> MoeBlockCase:
    """Return the nearest case that the target declares: hidden_size and moe_intermediate_size rounded up, a token added if it needs one."""
    multiple = target.multiples(fields["dtype"])[1]
    wanted = {"hidden_size": max(fields["hidden_size"], len(loads)), "moe_intermediate_size": fields["moe_intermediate_size"]}
    return MoeBlockCase.fitted(
        loads=with_a_token(target, loads), **fields | {name: round_up(size, multiple) for name, size in wanted.items()}
    )
