"""The wheel in an empty environment and an empty folder, as a user first meets it.

It installs torch, which takes minutes and a package index, so that its name is one that pytest collects only where it is asked for:
``make test-wheel``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import venv
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from moefuzz.tests.selftest.pytest_plugin.test_plugin import ROOT

from .test_distributions import built

OURS = ("CI", "HYPOTHESIS", "MOEFUZZ", "PYTEST", "PYTHON", "TRITON", "VIRTUAL_ENV")


def output(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What a command prints, which must end with exit code 0, and knows nothing of this checkout or its environment."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=clean | environment, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of programs of a new environment that has torch, the wheel, and what it depends on; it is deleted at the end."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    for package in ("torch", built(tmp_path_factory.mktemp("built")).wheel):
        output(folder / "bin" / "pip", "install", "--constraint", ROOT / "constraints.txt", package, cwd=folder)
    yield folder / "bin"
    shutil.rmtree(folder)


def test_nothing_that_it_depends_on_is_missing(programs: Path, tmp_path: Path) -> None:
    assert "No broken requirements" in output(programs / "pip", "check", cwd=tmp_path)


@pytest.mark.parametrize("command", [("moefuzz",), ("python", "-m", "moefuzz")], ids=" ".join)
def test_the_command_says_its_version(command: tuple[str, ...], programs: Path, tmp_path: Path) -> None:
    program, *arguments = command
    assert output(programs / program, *arguments, "--version", cwd=tmp_path).startswith(f"moefuzz {version('moefuzz')} (Python 3.")


def test_the_public_names_can_be_imported(programs: Path, tmp_path: Path) -> None:
    names = "from moefuzz import check, Target; import moefuzz; print(moefuzz.__version__, moefuzz.__file__)"
    number, file = output(programs / "python", "-c", names, cwd=tmp_path).split()
    assert number == version("moefuzz") and Path(file).is_relative_to(programs.parent)


def test_our_own_kernels_are_right(programs: Path, tmp_path: Path) -> None:
    assert "nothing found" in output(programs / "moefuzz", "fuzz", "--time", "10s", cwd=tmp_path)


def test_the_properties_run(programs: Path, tmp_path: Path) -> None:
    suite = ("--pyargs", "moefuzz.tests.properties", "-k", "any_subset")
    assert " passed" in output(programs / "pytest", *suite, cwd=tmp_path, CI="1")
