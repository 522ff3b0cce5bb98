"""A run's folder that is damaged, taken, or takes no file any more, and options that name none: one line, and nothing is lost."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from typer.testing import CliRunner

from moefuzz.harness.base.hypothesis_internals import choices_of_example
from moefuzz.harness.base.resources import LostDevice
from moefuzz.harness.campaign.campaign import Campaign
from moefuzz.harness.campaign.found import Found
from moefuzz.harness.campaign.reducing import Reduced
from moefuzz.harness.campaign.run_folder import RunFolder
from moefuzz.harness.cli import commands
from moefuzz.harness.failures import Failure
from moefuzz.harness.levels.cases import GroupedGemmCase
from moefuzz.harness.reduction import reduce
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.check import failure_of
from moefuzz.kernels.reference import grouped_gemm_reference
from moefuzz.strategies import grouped_gemm_cases
from moefuzz.strategies.regimes import exact_cases

LEAVES = "moefuzz.harness.planted.faults:leaves_empty_expert_dw_unwritten"


def many_rows(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    return grouped_gemm_reference(X, W, m_sizes, 1) + (len(X) > 7)


MINE = Target("mine", many_rows)


def fuzz(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(commands.app, ["fuzz", *arguments])
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("{", "cannot be read: JSONDecodeError"),
        ('{"format": 1}', "does not say targets"),
        ('{"format": 1, "targets": ["triton"], "merged": []}', "does not say seconds: it was merged of several runs"),
        ('{"format": 9}', "run has format 9"),
    ],
)
def test_a_folder_that_holds_no_run_is_one_line(run: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(run)
    status, out = fuzz("--run", str(tmp_path), "--time", "1s")
    assert status == 2 and said in out and out.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--hours", "0"), "--hours must be above 0 and at most 87600 (ten years), got 0.0"),
        (("--hours", "nan"), "--hours must be above 0 and at most 87600 (ten years), got nan"),
        (("--hours", "1", "--time", "1s"), "--hours and --time both say how long"),
        (("--workers", "0"), "--workers must be at least 1, got 0"),
        (("--known-reports", "nowhere"), "--known-reports nowhere: no report is there"),
    ],
)
def test_an_option_that_means_nothing_is_one_line(options: tuple[str, ...], said: str, tmp_path: Path) -> None:
    status, out = fuzz("--run", str(tmp_path / "run"), *options)
    assert status == 2 and said in out and out.count("\n") == 1


def test_a_run_of_one_target_does_not_go_on_with_another_nor_beside_another_command(tmp_path: Path) -> None:
    asked = {"targets": [LEAVES], "seconds": 1.0, "isolate": False, "case_seconds": 9.0, "sanitize": False, "known_issues": "", "share": ""}
    (tmp_path / "run.json").write_text(json.dumps({"format": 1, **asked, "starts": []}))
    status, out = fuzz("--run", str(tmp_path), "--time", "1s", "-t", "triton")
    assert status == 2 and f"it is a run of {LEAVES}; use another folder for another target" in out
    with RunFolder(tmp_path).alone(socket.gethostname()):
        status, out = fuzz("--run", str(tmp_path), "--time", "1s")
    assert status == 2 and "works in it" in out


def test_an_outcome_that_cannot_be_written_ends_the_process_rather_than_begin_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path)
    run.offer(failure(), MINE.name, "exact")
    steps = Campaign(run, [MINE], {"grouped_gemm": {"exact": exact_cases}}).steps(time.monotonic() + 60)
    assert isinstance(next(steps), Found)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("moefuzz.harness.campaign.run_folder._replace", full)
    with pytest.raises(LostDevice, match="cannot be written to any more: No space left"):
        next(steps)


def test_a_failure_without_a_report_is_a_failure(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.offer(failure(), MINE.name, "exact")
    run.reports.rmdir()
    run.reports.write_text("no folder")
    steps = list(Campaign(run, [MINE], {"grouped_gemm": {"exact": exact_cases}}).steps(-math.inf))
    (reduced,) = [step for step in steps if isinstance(step, Reduced)]
    assert reduced.found.outcome == "report" and reduced.found.report is None and "Error" in reduced.said


def failure() -> Failure:
    found = failure_of(GroupedGemmCase((9, 11), N=3, K=5, seed=7), MINE)
    assert found is not None
    return found


def test_hypothesis_shrinks_what_was_found_elsewhere() -> None:
    met: list[tuple[Failure, bytes]] = []

    @settings(max_examples=200, database=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck), derandomize=True)
    @given(grouped_gemm_cases(MINE))
    def explore(case: GroupedGemmCase) -> None:
        if (found := failure_of(case, MINE)) is not None:
            met.append((found, choices_of_example()))

    explore()
    largest, choices = max(met, key=lambda one: sum(one[0].case.rows))
    smallest = reduce._shrunk(largest, lambda case: failure_of(case, MINE), grouped_gemm_cases(MINE), choices, 30.0)
    assert isinstance(smallest.case, GroupedGemmCase) and isinstance(largest.case, GroupedGemmCase)
    assert sum(smallest.case.m_sizes) == 8 < sum(largest.case.m_sizes)


OWN_TARGET = """
from hypothesis import given
from moefuzz.harness import Target, check
from moefuzz.kernels.reference import grouped_gemm_reference
from moefuzz.strategies import grouped_gemm_cases

MINE = Target("mine", lambda X, W, m_sizes: grouped_gemm_reference(X, W, m_sizes, 1) + (len(X) > 7))

@given(grouped_gemm_cases(MINE))
def test_mine(case):
    check(case, MINE)
"""


def test_a_target_of_a_test_has_reports_and_a_corpus_runs_in_a_project_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(OWN_TARGET)
    (tmp_path / "c.ndjson").write_text('{"case": {"format": 1, "kind": "GroupedGemmCase", "m_sizes": [0, 2]}}\n')
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--moe-report-dir", "reports", "--moe-corpus", "c.ndjson"]
    done = subprocess.run([*command, "--moe-target", LEAVES], cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603
    assert "2 failed" in done.stdout and "GroupedGemmCase(m_sizes=(8,))" in done.stdout, done.stdout
    said = [json.loads(line) for line in (tmp_path / "reports" / "failures.ndjson").read_text().splitlines()]
    assert {one["target"] for one in said} == {"mine", LEAVES}
    assert all(Path(tmp_path, one["report"]).exists() for one in said)
    assert any("'mine' is no name" in one["replay"] for one in said)


@pytest.mark.heavy
def test_pytest_explores_for_a_time_and_then_reports_the_smallest_case(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(OWN_TARGET)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--moe-report-dir", "reports", "--moe-time", "5s"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603
    assert "moefuzz: explored for 5 s" in done.stdout and "1 to be reduced" in done.stdout, done.stdout
    assert done.returncode == 1 and "GroupedGemmCase(m_sizes=(8,))" in done.stdout
    assert (tmp_path / "reports" / "failures.ndjson").exists()
