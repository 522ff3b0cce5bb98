"""Strategies for cases of level ``grouped_gemm`` within the declaration of a target."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from moefuzz.harness.base.case import round_up
from moefuzz.harness.levels import cases
from moefuzz.harness.levels.grouped_gemm.case import GroupedGemmCase
from moefuzz.harness.targets import Target
from moefuzz.kernels.kernel_config import KernelConfig

from .case_builder import fitted_cases
from .expert_counts import Counts, expert_counts
from .sizes import dimension_sizes

CONFIGS = (
    KernelConfig(),
    KernelConfig(block_m=32, block_n=32, block_k=32),
    KernelConfig(block_m=16, block_n=32, block_k=64),
    KernelConfig(block_m=64, block_n=16, block_k=32),
    KernelConfig(block_m=64, block_n=64, block_k=64),
    KernelConfig(block_m=16, block_n=32, block_k=64, num_stages=3, tma=True),
    KernelConfig(block_m=64, block_n=128, block_k=16, num_stages=3, tma=True),
    KernelConfig(block_m=128, block_n=128, block_k=64, num_warps=8, num_stages=2, tma=True, specialized=True),
    KernelConfig(block_m=16, block_n=32, block_k=16, aligned=True),
    KernelConfig(block_m=64, block_n=64, block_k=64, num_warps=8, num_stages=3, aligned=True),
)
"""The configurations that are drawn; few, since on a GPU each is compiled for every dtype and set of flags."""


def kernel_configs() -> st.SearchStrategy[KernelConfig]:
    """Return a strategy for kernel configurations: square and oblong tiles, with and without alignment, TMA boxes, specialised warps."""
    return st.sampled_from(CONFIGS)


def seeds() -> st.SearchStrategy[int]:
    """Return a strategy for the seed of a data recipe."""
    return st.integers(0, 2**16)


def data_recipes(names: Sequence[str] = cases.RECIPES) -> st.SearchStrategy[str]:
    """Return a strategy for the names of data recipes, whole numbers first."""
    return st.sampled_from(names)


def layouts(target: Target | None) -> dict[str, Sequence[str]]:
    """Return the strides of X, W and dY that a target takes, by field."""
    choices = {"x_layout": cases.LAYOUTS, "w_layout": cases.LAYOUTS, "dy_layout": cases.DY_LAYOUTS}
    strided = target is None or target.strides
    return {name: of if strided else of[:1] for name, of in choices.items()}


def grouped_gemm_cases(target: Target | None = None, *, counts: Counts | None = None, **fields: Any) -> st.SearchStrategy[GroupedGemmCase]:
    """Return a strategy for grouped GEMM cases that a target must get right.

    - ``target`` bounds them by what it declares, defaulting to everything that a case can say.
    - ``counts`` replaces the expert counts, and each of ``fields`` the strategy of one field of GroupedGemmCase.

    Drawn example: GroupedGemmCase(m_sizes=(3, 0, 17), N=16, K=33, dtype='bfloat16', permute='x', topk=4, order='shuffled', seed=11).
    """
    permutes = cases.PERMUTES if target is None else target.permutes
    fuses = target is None or target.fuses
    keywords = {"topk", "is_first_gemm"} if target is None else target.keywords
    tail = target is None or target.tail_rows == "zero"
    drawn: dict[str, st.SearchStrategy[Any] | Sequence[Any]] = {
        "N": dimension_sizes(),
        "K": dimension_sizes(),
        "dtype": cases.DTYPES if target is None else target.dtypes,
        "topk": st.integers(1, 8) if "topk" in keywords else [1],
        "permute": permutes,
        "is_first_gemm": [True, False] if "is_first_gemm" in keywords else [True],
        "fuse_mul_post": [False, False, False, True] if fuses else [False],  # rarely, since such a call has no backward pass to check
        "tail_rows": st.integers(0, 20) if tail else [0],
        "order": cases.ORDERS,
        **layouts(target),
        "grads": ["XW", "XW", *cases.GRADS],
        "config": CONFIGS if target is None or target.configurable else [KernelConfig()],
        "data": data_recipes(),
        "seed": seeds(),
    }
    fitted = GroupedGemmCase.fitted if target is None else functools.partial(_fitted, target)
    return fitted_cases(fitted, {"m_sizes": expert_counts() if counts is None else counts}, {**drawn, **fields})


def _fitted(target: Target, *, m_sizes: Sequence[int], **fields: Any) -> GroupedGemmCase:
    """Return the nearest case that the target declares: sizes rounded up, a row added if it needs one, no gradients if it has none."""
    n_multiple, k_multiple = target.multiples(fields["dtype"])
    fields |= {"N": round_up(fields["N"], n_multiple), "K": round_up(fields["K"], k_multiple)}
    sizes = [round_up(size, target.m_multiple) for size in m_sizes]
    if not target.zero_rows and not any(sizes):
        sizes[-1] = target.m_multiple
    if not target.backward:
        fields |= {"grads": ""}
    if target.m_multiple > 1:
        fields |= {"tail_rows": 0, "topk": math.gcd(fields["topk"], target.m_multiple)}  # so that no rows are added for a multiple of topk
    return GroupedGemmCase.fitted(m_sizes=sizes, **fields)
