"""How a property gets its cases: from a regime, for each target of the run."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moefuzz.harness.base.environment import TARGET_VARIABLE
from moefuzz.harness.levels.cases import Case
from moefuzz.harness.targets import Target
from moefuzz.harness.targets.registry import default_target, load_target, specs_of_run

Property = Callable[..., None]
Regime = Callable[[Target], st.SearchStrategy[Any] | None]


def fewer(property_: Property) -> Property:
    """Draw a tenth of the profile's examples, where each takes long."""
    return settings(max_examples=max(10, settings().max_examples // 10))(property_)


def gemms_from(regime: Regime) -> Callable[[Property], Property]:
    """Give a property grouped GEMM cases; without a target of this level it is left out, and skipped if none has such cases."""
    return _from(regime, "grouped_gemm")


def experts_from(regime: Regime) -> Callable[[Property], Property]:
    """Give a property cases of experts; as ``gemms_from``."""
    return _from(regime, "experts")


def blocks_from(regime: Regime, *, briefly: bool = False) -> Callable[[Property], Property]:
    """Give a property MoE block cases; as ``gemms_from``.

    ``briefly`` leaves out our own blocks but the Triton one under the ``ci`` profile.
    """
    own_in_ci = TARGET_VARIABLE not in os.environ and settings.get_current_profile_name() == "ci"
    return _from(regime, "moe_block", most=1 if briefly and own_in_ci else None)


def _from(regime: Regime, level: str, most: int | None = None) -> Callable[[Property], Property]:
    """A test for each target of the run that is of this level and has such cases, or for the first few."""
    specs = specs_of_run(level)[:most]
    if not specs:
        return pytest.mark.not_asked
    drawn = {spec: cases for spec in specs if (cases := regime(load_target(spec))) is not None}
    if not drawn:
        return pytest.mark.skip(reason=f"{', '.join(specs)} declare{'s' * (len(specs) == 1)} no {regime.__name__}")

    @st.composite
    def of_the_chosen_target(draw: st.DrawFn) -> Case:
        case: Case = draw(drawn[default_target(level).name])
        return case

    asked = pytest.mark.parametrize("moe_target", list(drawn), indirect=True, scope="module")
    used = pytest.mark.usefixtures("moe_target")
    return lambda property_: used(asked(given(case=of_the_chosen_target())(property_)))
