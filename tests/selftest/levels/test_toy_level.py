"""A level of another package, in one file: it is fuzzed, minimised, reported and replayed like our own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from moefuzz.harness.cli import commands

from . import toy_level

SOURCE = Path(toy_level.__file__)


def moefuzz(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "moefuzz", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the level in it, and a run of its wrong target."""
    folder = tmp_path_factory.mktemp("toy")
    shutil.copy(SOURCE, folder / "toy.py")
    done = moefuzz(folder, "fuzz", "-t", "toy:forgets_the_third", "--examples", "40", "--seed", "1", "--report-dir", "reports")
    assert done.returncode == 1, done.stderr + done.stdout
    assert done.stdout.count("WrongValue: ") == 1 and "case      DoublingCase(n=3" in done.stdout, done.stdout
    return folder


def test_the_level_is_one_file_of_at_most_80_lines() -> None:
    assert len(SOURCE.read_text().splitlines()) <= 80


def test_its_failure_has_a_report_with_a_script(project: Path) -> None:
    (report,) = (project / "reports").glob("*/report.md")
    text = report.read_text()
    assert "doubled" in text and "any dtype" in text and "n > 2" in text and "It did not show" not in text
    done = subprocess.run([sys.executable, "reproduce.py"], cwd=report.parent, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "wrong"), done.stderr


@pytest.mark.parametrize(
    ("target", "case", "code"),
    [
        ("forgets_the_third", "DoublingCase(n=3, seed=1)", 1),
        ("right", "DoublingCase(n=3, seed=1)", 0),
        ("forgets_the_third", "DoublingCase(n=2, seed=1)", 0),
        ("right", "reports", 0),
    ],
)
def test_its_case_is_replayed_from_its_text_and_from_its_report(
    target: str, case: str, code: int, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    done = CliRunner().invoke(commands.app, ["replay", "--no-isolate", "-t", f"toy:{target}", case])
    assert done.exit_code == code, done.output


def test_without_its_target_the_case_is_one_that_no_level_has(project: Path) -> None:
    done = moefuzz(project, "replay", "DoublingCase(n=3)")
    assert done.returncode == 2 and "DoublingCase" in done.stderr and len(done.stderr.splitlines()) == 1
