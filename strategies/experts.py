"""Strategies for cases of level ``experts``: routings with a drawn skew and their weights, and the sizes of a small Qwen3."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from moefuzz.harness.base.case import round_up
from moefuzz.harness.levels import cases
from moefuzz.harness.levels.experts.case import ExpertsCase
from moefuzz.harness.targets import Target

from .case_builder import fitted_cases
from .expert_counts import Counts
from .grouped_gemms import data_recipes, layouts, seeds
from .moe_blocks import RECIPES, TOPK, expert_loads, with_a_token
from .sizes import tile_edge_sizes


def experts_cases(target: Target | None = None, *, loads: Counts | None = None, **fields: Any) -> st.SearchStrategy[ExpertsCase]:
    """Return a strategy for the experts of MoE blocks that a target must get right.

    - ``target`` bounds them by what it declares, defaulting to everything that a case can say.
    - ``loads`` replaces the expert loads, and each of ``fields`` the strategy of one field of ExpertsCase.

    Drawn example: ExpertsCase(loads=(4, 0, 1, 3), topk=2, hidden_size=17, dtype='bfloat16', order='shuffled', seed=5).
    """
    sizes = st.integers(1, 12) | tile_edge_sizes(16, smallest=1, largest=33)
    drawn: dict[str, st.SearchStrategy[Any] | Sequence[Any]] = {
        "topk": TOPK,
        "hidden_size": sizes,
        "moe_intermediate_size": sizes,
        "dtype": cases.DTYPES if target is None else target.dtypes,
        "act": cases.ACTS if target is None else target.acts,
        "order": ["sorted", "shuffled"],
        **layouts(target),
        "grads": ["all", "all", *cases.EXPERTS_GRADS],
        "data": data_recipes(RECIPES),
        "seed": seeds(),
    }
    fitted = ExpertsCase.fitted if target is None else functools.partial(_fitted, target)
    return fitted_cases(fitted, {"loads": expert_loads() if loads is None else loads}, {**drawn, **fields})


def _fitted(target: Target, *, loads: Sequence[int], **fields: Any) -> ExpertsCase:
    """Return the nearest case that the target declares: sizes rounded up, a token added if it needs one, no gradients if it has none."""
    multiple = target.multiples(fields["dtype"])[1]
    fields |= {name: round_up(fields[name], multiple) for name in ("hidden_size", "moe_intermediate_size")}
    if not target.backward:
        fields |= {"grads": "none"}
    return ExpertsCase.fitted(loads=with_a_token(target, loads), **fields)
