"""The rules of the house: who may import whom, documents that run, files of a readable size."""

from __future__ import annotations

import ast
import doctest
import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("kernels", "harness", "strategies")
MODULES = [path.relative_to(ROOT) for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")) if path.name != "__init__.py"]

FORBIDDEN = {
    "kernels": ("hypothesis", "pytest", "moefuzz.harness", "moefuzz.strategies", "moefuzz.tests"),
    "harness": ("moefuzz.strategies", "moefuzz.tests"),
    "strategies": ("moefuzz.tests", "torch", "triton", "pytest"),
}
EXCEPTED = {(f"harness/runs/{name}.py", "moefuzz.strategies.regimes") for name in ("start", "worker")}


def imports_of(path: Path) -> set[str]:
    """The absolute names that a module imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_go_one_way(path: Path) -> None:
    crossed = {i for i in imports_of(ROOT / path) if i.startswith(FORBIDDEN[path.parts[0]]) and (str(path), i) not in EXCEPTED}
    assert crossed == set()


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_module_imports_the_public_names(path: Path) -> None:
    """``from moefuzz import check`` is for users: in the house a name comes from where it is defined."""
    assert "moefuzz" not in imports_of(ROOT / path)


def test_the_public_names_are_those_of_harness_and_strategies() -> None:
    imported = imports_of(ROOT / "moefuzz" / "__init__.py")
    assert {name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names} == {"moefuzz.harness", "moefuzz.strategies"}


def test_kernels_is_a_folder_without_init() -> None:
    assert not (ROOT / "kernels" / "__init__.py").exists()


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_examples_in_docstrings_run(path: Path) -> None:
    module = importlib.import_module(".".join(("moefuzz", *path.with_suffix("").parts)))
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_file_is_at_most_300_lines(path: Path) -> None:
    assert len((ROOT / path).read_text().splitlines()) <= 300
