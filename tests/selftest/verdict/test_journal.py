"""The running case is written ahead: a killed run loses nothing else, and the next one begins with what it left."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moefuzz.harness.base import pytest_process
from moefuzz.harness.base.hypothesis_internals import home_folder, set_home
from moefuzz.harness.campaign.campaign import fuzz
from moefuzz.harness.campaign.reducing import Reduced
from moefuzz.harness.campaign.turn import Turn
from moefuzz.harness.levels.cases import GroupedGemmCase
from moefuzz.harness.targets.registry import load_target
from moefuzz.harness.verdict.journal import interrupted_cases, write_ahead, written_ahead

CASE = GroupedGemmCase((3, 1), N=5, w_layout="padded", seed=7)
FORGETS = "moefuzz.harness.planted.faults:forgets_the_row_mask"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = home_folder()
    set_home(tmp_path)
    monkeypatch.setattr(pytest_process, "journal", None)
    monkeypatch.setattr(pytest_process, "stderr", -1)
    yield tmp_path / "moefuzz" / "running"
    set_home(before)


def test_a_run_that_ends_leaves_nothing(home: Path) -> None:
    with written_ahead():
        write_ahead(CASE, "t")
        assert interrupted_cases(["t"]) == [], "it runs: its file is locked"
        assert len(list(home.iterdir())) == 1
    assert list(home.iterdir()) == []


def killed(home: Path, target: str) -> None:
    """A process that is killed while it runs CASE."""
    code = f"""
import os, signal
from pathlib import Path
from moefuzz.harness.base.hypothesis_internals import set_home
set_home(Path({str(home.parents[1])!r}))
from moefuzz.harness.levels.cases import GroupedGemmCase
from moefuzz.harness.verdict.journal import write_ahead, written_ahead
with written_ahead():
    write_ahead(GroupedGemmCase((9,) * 40), {target!r})
    write_ahead({CASE!r}, {target!r})
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL  # noqa: S603


def test_what_a_killed_run_left_is_run_first_and_then_forgotten(home: Path, tmp_path: Path) -> None:
    killed(home, FORGETS)
    (home / "foreign.json").write_text("{")
    (left,) = interrupted_cases([FORGETS, "triton"])
    assert (left.case, left.target) == (CASE, FORGETS) and interrupted_cases(["triton"]) == []
    turn, _, reduced = fuzz([load_target(FORGETS)], 0.01, {"grouped_gemm": {}}, [left], reports=tmp_path)
    assert isinstance(turn, Turn) and (turn.regime, turn.examples, turn.found) == ("left over", 1, 1)
    assert (
        isinstance(reduced, Reduced)
        and reduced.failure is not None
        and reduced.failure.tensor == "dW"
        and interrupted_cases([FORGETS]) == []
    )


def test_what_the_target_takes_no_more_is_forgotten(home: Path) -> None:
    killed(home, "torch_loop")
    (left,) = interrupted_cases(["torch_loop"])
    permuted = dataclasses.replace(left, case=GroupedGemmCase((2,), permute="x"))
    assert list(fuzz([load_target("torch_loop")], 0.01, {"grouped_gemm": {}}, [permuted])) == []
    assert interrupted_cases(["torch_loop"]) == []


def test_without_a_place_to_write_nothing_is_written_ahead(home: Path) -> None:
    home.parent.write_text("a file where the folder would be")
    with written_ahead():
        write_ahead(CASE, "t")
    assert interrupted_cases(["t"]) == []


@pytest.mark.heavy
def test_a_long_run_that_is_killed_offers_its_case_again(home: Path, tmp_path: Path) -> None:
    """As a user meets it: `kill -9` of the process that draws."""
    command = [sys.executable, "-m", "moefuzz.harness", "fuzz", "--time", "60s", "-t", "torch_loop", "--report-dir", str(tmp_path / "r")]
    environment = {**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path)}
    process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL)  # noqa: S603
    stop = time.monotonic() + 40
    while not any(file.stat().st_size for file in home.glob("*.json")) and time.monotonic() < stop:
        time.sleep(0.1)
    assert interrupted_cases(["torch_loop"]) == []
    process.kill()
    process.wait()
    assert len(interrupted_cases(["torch_loop"])) == 1
