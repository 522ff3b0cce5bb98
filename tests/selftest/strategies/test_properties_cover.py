"""Each regime, and each relation of a level, has a property of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

from moefuzz.harness.base.contract import LEVELS
from moefuzz.harness.levels.level import level_of
from moefuzz.strategies.regimes import REGIMES
from moefuzz.tests.selftest.pytest_plugin.test_plugin import PROPERTIES


def without_property(names: Iterable[str], sources: Iterable[str]) -> set[str]:
    """The regimes' functions and the relations that decorate no property, neither by a name nor by a text."""
    used: set[str] = set()
    for source in sources:
        for function in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)):
            inside = [part for decorator in function.decorator_list for part in ast.walk(decorator)]
            used |= {part.attr for part in inside if isinstance(part, ast.Attribute)} | {
                str(part.value) for part in inside if isinstance(part, ast.Constant)
            }
    return set(names) - used


def sources() -> list[str]:
    return [path.read_text() for path in Path(PROPERTIES).glob("test_*.py")]


@pytest.mark.parametrize("level", LEVELS)
def test_each_regime_and_relation_has_a_property(level: str) -> None:
    regimes = {regime.__name__ for name, regime in REGIMES[level].items() if not name.startswith("related")}
    assert without_property(regimes | set(level_of(level).relations), sources()) == set()


def test_one_that_has_none_is_seen() -> None:
    source = "from x import regimes\n@given(regimes.any_cases)\n@related('repeated')\ndef test_it(): regimes.far_cases"
    assert without_property(["any_cases", "far_cases", "repeated", "scaled"], [source]) == {"far_cases", "scaled"}
