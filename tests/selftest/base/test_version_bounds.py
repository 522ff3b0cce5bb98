"""Why pyproject.toml bounds Hypothesis and pytest: private parts of both are used, which ``hypothesis_internals.py`` names."""

from __future__ import annotations

import inspect
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from .test_hypothesis_internals import FUNCTIONS

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_docstring_names_the_version_in_which_the_part_was_read(name: str) -> None:
    read = dict(re.findall(r"Read in (Hypothesis|pytest) (\d[\d.]*\d)", inspect.getdoc(FUNCTIONS[name]) or ""))
    assert read and {package: pinned(package.lower()) for package in read} == read, "read it again in the version of constraints.txt"


@pytest.mark.parametrize("package", ["hypothesis", "pytest"])
def test_the_bound_is_the_next_major_version_after_that_in_which_the_canaries_run(package: str) -> None:
    """Minor versions are admitted: the canaries pass with the lower bound of Hypothesis too.

    A bound at the next one, of which there is one every few weeks, would bar moefuzz from the projects in which it is a guest.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (bounds,) = (each.specifier for each in map(Requirement, project["dependencies"]) if each.name == package)
    next_major = f"{Version(pinned(package)).major + 1}"
    assert pinned(package) in bounds and [each.version for each in bounds if each.operator == "<"] == [next_major]
    assert version(package) in bounds, "the canaries above ran with a version that is not admitted"


PUBLIC = r"(?:strategies|errors|database|extra)\b"
PRIVATE = rf"_hypothesis_\w+|\b_pytest\b|\bchoices_(?:to|from)_bytes\b|\b(?<!\.)hypothesis\.(?!{PUBLIC})\w+|\.hypothesis\b"


def test_no_other_module_uses_private_parts() -> None:
    files = [path for folder in ("harness", "strategies", "kernels", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
    code = {path: re.sub(r'"""(?s:.)*?"""|#.*', "", path.read_text()) for path in files}
    used = {path.relative_to(ROOT).as_posix(): re.findall(PRIVATE, text) for path, text in code.items()}
    assert len(used.pop("harness/base/hypothesis_internals.py")) > 10, "they are not seen"
    assert {path: parts for path, parts in used.items() if parts} == {}, "they belong into hypothesis_internals.py"


def pinned(package: str) -> str:
    """Return the version of a package that constraints.txt has, with which the suite is run."""
    return next(line.partition("==")[2] for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith(f"{package}=="))
