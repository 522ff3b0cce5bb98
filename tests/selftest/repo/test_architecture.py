"""The rules of the house: who may import whom, documents that run, files of a readable size."""

from __future__ import annotations

import ast
import doctest
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = ("kernels", "harness", "strategies")
FILES = [path.relative_to(ROOT) for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
MODULES = [path for path in FILES if path.name != "__init__.py"]

FORBIDDEN = {
    "kernels": ("hypothesis", "pytest", "moefuzz.harness", "moefuzz.strategies", "moefuzz.tests"),
    "harness": ("moefuzz.strategies", "moefuzz.tests"),
    "strategies": ("moefuzz", "torch", "triton", "pytest"),
}
"""By folder what it must not import: the table of ARCHITECTURE.md."""

ALLOWED = {
    "strategies": (
        *(f"moefuzz.harness.{name}" for name in ("base.case", "targets", "models", "levels.cases")),
        *(f"moefuzz.harness.levels.{name}.case" for name in ("grouped_gemm", "experts", "moe_block")),
        "moefuzz.kernels.kernel_config", "moefuzz.strategies",
    ),
}  # fmt: skip
"""What of the forbidden a folder may import all the same."""

EXCEPTED = {
    (f"harness/{name}.py", "moefuzz.strategies.regimes.REGIMES") for name in ("cli/describe_command", "cli/chosen", "campaign/worker")
}
"""A run begins in them: they hand the regimes on to all that explores."""


def imports_of(path: Path, text: str) -> set[str]:
    """The absolute names that a module imports, anywhere in it: of ``from a import b`` and ``from .a import b`` the name of b."""
    package = ("moefuzz", *path.parts[:-1])
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            names |= {".".join((*above, *filter(None, (node.module, alias.name)))) for alias in node.names}
    return names


def is_within(name: str, roots: Iterable[str]) -> bool:
    return any(f"{name}.".startswith(f"{root}.") for root in roots)


def crossed(path: Path, text: str) -> set[str]:
    """What a module imports that its folder must not."""
    folder = path.parts[0]
    wrong = {name for name in imports_of(path, text) if name == "moefuzz" or is_within(name, FORBIDDEN[folder])}
    return {name for name in wrong if not is_within(name, ALLOWED.get(folder, ()))}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_go_one_way(path: Path) -> None:
    assert {name for name in crossed(path, (ROOT / path).read_text()) if (str(path), name) not in EXCEPTED} == set()


def test_each_exception_is_one() -> None:
    assert {(path, name) for path, _ in EXCEPTED for name in crossed(Path(path), (ROOT / path).read_text())} == EXCEPTED


@pytest.mark.parametrize(
    ("path", "text", "name"),
    [
        ("harness/x.py", "from moefuzz import strategies", "moefuzz.strategies"),
        ("harness/x.py", "import moefuzz.strategies.regimes as r", "moefuzz.strategies.regimes"),
        ("harness/x.py", "import moefuzz", "moefuzz"),
        ("harness/x.py", "from ..strategies import regimes", "moefuzz.strategies.regimes"),
        ("harness/x.py", "from .. import strategies", "moefuzz.strategies"),
        ("harness/runs/x.py", "from ...strategies.regimes import REGIMES", "moefuzz.strategies.regimes.REGIMES"),
        ("harness/runs/x.py", "def f():\n    from ... import tests", "moefuzz.tests"),
        ("harness/__init__.py", "from ..strategies import *", "moefuzz.strategies.*"),
        ("harness/x.py", "if TYPE_CHECKING:\n    from ..tests import conftest", "moefuzz.tests.conftest"),
        ("kernels/x.py", "from ..harness.levels import cases", "moefuzz.harness.levels.cases"),
        ("kernels/x.py", "import pytest", "pytest"),
        ("strategies/x.py", "from moefuzz.harness import verdict", "moefuzz.harness.verdict"),
        ("strategies/x.py", "from ..harness.verdict.check import check", "moefuzz.harness.verdict.check.check"),
        ("strategies/x.py", "from moefuzz.harness.levels.cases_of_others import a", "moefuzz.harness.levels.cases_of_others.a"),
        ("strategies/x.py", "from ..kernels.grouped_gemm import grouped_gemm", "moefuzz.kernels.grouped_gemm.grouped_gemm"),
        ("strategies/x.py", "import torch.nn", "torch.nn"),
    ],
)
def test_an_import_that_goes_the_other_way_is_seen(path: str, text: str, name: str) -> None:
    assert crossed(Path(path), text) == {name}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("harness/runs/x.py", "from ..cases import Case\nfrom . import folder\nfrom moefuzz.kernels import routing\nimport torchvision"),
        ("strategies/x.py", "from ..harness.levels.cases import Case\nfrom .sizes import a\nimport hypothesis"),
    ],
)
def test_an_import_that_goes_the_right_way_is_none_of_them(path: str, text: str) -> None:
    assert crossed(Path(path), text) == set()


FACES = ("cli", "pytest_plugin")
"""What people run. All else is below, and imports nothing of them; neither imports the other."""


def faces_in(path: Path, text: str) -> set[str]:
    """What a module of harness imports of a face that is not its own."""
    others = [f"moefuzz.harness.{face}" for face in FACES if path.parts[:2] != ("harness", face)]
    return {name for name in imports_of(path, text) if is_within(name, others)}


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] == "harness" and path.name != "__main__.py"], ids=str)
def test_the_faces_are_on_top(path: Path) -> None:
    assert faces_in(path, (ROOT / path).read_text()) == set()


def test_an_import_of_a_face_is_seen() -> None:
    below, beside = Path("harness/base/x.py"), Path("harness/pytest_plugin/x.py")
    text = "from ..cli.options import refuse\nfrom ..pytest_plugin import soak"
    assert faces_in(below, text) == {"moefuzz.harness.cli.options.refuse", "moefuzz.harness.pytest_plugin.soak"}
    assert faces_in(beside, text) == {"moefuzz.harness.cli.options.refuse"}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_module_imports_the_public_names(path: Path) -> None:
    """``from moefuzz import check`` is for users: in the house a name comes from where it is defined."""
    imported = {name for name in imports_of(path, (ROOT / path).read_text()) if is_within(name, ("moefuzz",))}
    assert {name for name in imported if not is_within(name, (f"moefuzz.{folder}" for folder in FOLDERS))} == set()


def test_the_public_names_are_those_of_harness_and_strategies() -> None:
    imported = imports_of(Path("__init__.py"), (ROOT / "moefuzz" / "__init__.py").read_text())
    outside = {name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names}
    assert outside and all(is_within(name, ("moefuzz.harness", "moefuzz.strategies")) for name in outside)


def test_kernels_is_a_folder_without_init() -> None:
    assert not (ROOT / "kernels" / "__init__.py").exists()


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_examples_in_docstrings_run(path: Path) -> None:
    module = importlib.import_module(".".join(("moefuzz", *path.with_suffix("").parts)))
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_file_is_at_most_300_lines(path: Path) -> None:
    assert len((ROOT / path).read_text().splitlines()) <= 300
