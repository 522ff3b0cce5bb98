"""How a property gets its cases: from a regime, for the target of the run."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moefuzz.harness.blocks import OWN_BLOCKS
from moefuzz.harness.cases import MoeBlockCase
from moefuzz.harness.check import check
from moefuzz.harness.environment import TARGET_VARIABLE
from moefuzz.harness.targets import Target, default_target, load_target

Property = Callable[..., None]
Regime = Callable[[Target], st.SearchStrategy[Any] | None]


def fewer(property_: Property) -> Property:
    """Draw a tenth of the profile's examples, where each takes long."""
    return settings(max_examples=max(10, settings().max_examples // 10))(property_)


def gemms_from(regime: Regime) -> Callable[[Property], Property]:
    """Give a property grouped GEMM cases; skip it where the target is of another level, or declares that it has none of this regime."""
    return _from(regime, "grouped_gemm")


def experts_from(regime: Regime) -> Callable[[Property], Property]:
    """Give a property cases of experts; skip it where the target is of another level, or declares that it has none of this regime."""
    return _from(regime, "experts")


def blocks_from(regime: Regime) -> Callable[[Property], Property]:
    """Give a property MoE block cases; skip it where the target is of another level, or declares that it has none of this regime."""
    return _from(regime, "moe_block")


def _from(regime: Regime, level: str) -> Callable[[Property], Property]:
    target = default_target(level)
    if target.level != level:
        return pytest.mark.skip(reason=f"{target.name} is of level {target.level}")
    cases = regime(target)
    return pytest.mark.skip(reason=f"{target.name} declares no {regime.__name__}") if cases is None else given(case=cases)


def block_targets() -> list[Target]:
    """The block that was asked for, or all of ours: Hugging Face's, the torch twin, and the one on Triton."""
    if os.environ.get(TARGET_VARIABLE):
        return [default_target("moe_block")]
    return [load_target(spec) for spec in OWN_BLOCKS]


def check_each(case: MoeBlockCase) -> None:
    """Hold the block that was asked for, or each of ours, against the reference, and to the relation that the case names."""
    for target in block_targets():
        check(case, target)
