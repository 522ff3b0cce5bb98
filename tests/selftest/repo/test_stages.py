"""One way through the house: a stage imports only stages before it, none names a level, and no two modules import each other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from moefuzz.harness.base.contract import LEVELS

from .test_architecture import FILES, ROOT, imports_of

STAGES = (
    "aliases", "base", "failures", "numerics", "models", "targets", "execution", "sanitizer", "levels", "verdict", "reduction", "run_log",
    "report", "campaign", "cli", "pytest_plugin", "planted",
)  # fmt: skip
"""The folders of ``harness/`` in the order of the way; a module imports from its own and from those before it."""

FACES = ("__init__.py", "__main__.py")
"""What stands before the way: the public names, and the entry point of the command."""

NAME_LEVELS = ("levels", "planted")
"""The stages that may name a level. So may the registry, and targets of our own and of others, which are written for one."""
NAMES_LEVELS = ("harness/base/contract.py", "harness/targets/blocks.py", "harness/targets/adapters")

HARNESS = [path for path in FILES if path.parts[0] == "harness" and path.parts[1] not in FACES]
MODULES = {".".join(("moefuzz", *path.with_suffix("").parts)).removesuffix(".__init__") for path in FILES}


def stage_of(name: str) -> str:
    """The stage of a module by its absolute name; empty outside of the harness."""
    return name.split(".")[2] if name.startswith("moefuzz.harness.") else ""


def too_late(path: Path, text: str) -> set[str]:
    """What a module imports, anywhere in it, that comes after its own stage."""
    own = STAGES.index(path.parts[1].removesuffix(".py"))
    return {name for name in imports_of(path, text) if (stage := stage_of(name)) and STAGES.index(stage) > own}


def level_names(path: Path, text: str) -> set[str]:
    """The levels that a module names: by an import, or as a text that is the name of one."""
    texts = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    named = {text for text in texts if text in LEVELS and text != "experts"}  # which is a word for a number too
    return named | {
        level for name in imports_of(path, text) for level in LEVELS if f"{name}.".startswith(f"moefuzz.harness.levels.{level}.")
    }


def graph() -> dict[str, set[str]]:
    """By module the modules that it imports, lazily or for types too."""
    edges: dict[str, set[str]] = {}
    for path in HARNESS:
        module = ".".join(("moefuzz", *path.with_suffix("").parts)).removesuffix(".__init__")
        imported = imports_of(path, (ROOT / path).read_text())
        known = {name if name in MODULES else name.rpartition(".")[0] for name in imported}
        edges[module] = {name for name in known & MODULES if name != module}
    return edges


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Modules that import each other, in a row; empty where there are none."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("path", HARNESS, ids=str)
def test_a_stage_imports_only_stages_before_it(path: Path) -> None:
    assert too_late(path, (ROOT / path).read_text()) == set()


def test_each_folder_is_a_stage_and_four_files_stand_beside_them() -> None:
    folders = {path.parts[1] for path in HARNESS if len(path.parts) > 2}
    assert folders == set(STAGES) - {"aliases"}
    assert len(list((ROOT / "harness").glob("*.py"))) <= 4


@pytest.mark.parametrize(
    "path", [path for path in HARNESS if not str(path).startswith(NAMES_LEVELS) and path.parts[1] not in NAME_LEVELS], ids=str
)
def test_no_stage_names_a_level(path: Path) -> None:
    assert level_names(path, (ROOT / path).read_text()) == set()


def test_no_template_of_a_stage_names_a_level() -> None:
    templates = [path for path in (ROOT / "harness").rglob("*.jinja") if "levels" not in path.parts]
    words = {word for template in templates for word in re.findall(r"\w+", template.read_text())}
    assert templates and words.isdisjoint({"grouped_gemm", "moe_block"})


def test_no_modules_import_each_other() -> None:
    assert circle(graph()) == []


@pytest.mark.parametrize(
    ("path", "text", "name"),
    [
        ("harness/base/x.py", "from moefuzz.harness.cli.options import refuse", "moefuzz.harness.cli.options.refuse"),
        ("harness/base/x.py", "from ..cli import options", "moefuzz.harness.cli.options"),
        ("harness/verdict/x.py", "def f():\n    from ..report import script", "moefuzz.harness.report.script"),
        ("harness/levels/experts/x.py", "from ...verdict.check import check", "moefuzz.harness.verdict.check.check"),
        ("harness/levels/x.py", "if TYPE_CHECKING:\n    from moefuzz.harness import verdict", "moefuzz.harness.verdict"),
        ("harness/aliases.py", "from .base.case import Case", "moefuzz.harness.base.case.Case"),
    ],
)
def test_an_import_of_a_later_stage_is_seen(path: str, text: str, name: str) -> None:
    assert too_late(Path(path), text) == {name}


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("from moefuzz.harness.levels.experts.case import ExpertsCase", "experts"),
        ("def f():\n    from ..levels import moe_block", "moe_block"),
        ("if level == 'grouped_gemm':\n    pass", "grouped_gemm"),
    ],
)
def test_a_level_that_is_named_is_seen(text: str, level: str) -> None:
    assert level_names(Path("harness/verdict/x.py"), text) == {level}


def test_modules_that_import_each_other_are_seen() -> None:
    circles: Iterable[dict[str, set[str]]] = ({"a": {"b"}, "b": {"a"}}, {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})
    assert [set(circle(edges)) for edges in circles] == [{"a", "b"}, {"a", "b", "c"}]
