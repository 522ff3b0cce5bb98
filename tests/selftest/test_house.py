"""The rules of the house: who may import whom, documents that run, files of a readable size."""

from __future__ import annotations

import ast
import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("kernels", "harness", "strategies")
MODULES = [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.py")) if path.name != "__init__.py"]

FORBIDDEN = {
    "kernels": ("hypothesis", "pytest", "moefuzz.harness", "moefuzz.strategies", "moefuzz.tests"),
    "harness": ("moefuzz.strategies", "moefuzz.tests"),
    "strategies": ("moefuzz.tests", "torch", "triton", "pytest"),
}
EXCEPTED = {("harness/cli.py", "moefuzz.strategies.regimes")}


def imports_of(path: Path) -> set[str]:
    """The absolute names that a module imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_imports_go_one_way(path: Path) -> None:
    name = f"{path.parent.name}/{path.name}"
    crossed = {i for i in imports_of(path) if i.startswith(FORBIDDEN[path.parent.name]) and (name, i) not in EXCEPTED}
    assert crossed == set()


def test_kernels_is_a_folder_without_init() -> None:
    assert not (ROOT / "kernels" / "__init__.py").exists()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_examples_in_docstrings_run(path: Path) -> None:
    module = importlib.import_module(f"moefuzz.{path.parent.name}.{path.stem}")
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_file_is_at_most_300_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300
