"""Long runs: each failure is reduced by one, a bug behind another is reached, and what was killed loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.database import InMemoryExampleDatabase, choices_from_bytes, choices_to_bytes

from moefuzz.harness.campaign import gpus
from moefuzz.harness.campaign.campaign import Campaign, Step
from moefuzz.harness.campaign.example_database import SharedExamples
from moefuzz.harness.campaign.explore import Explorer, Line
from moefuzz.harness.campaign.found import Found
from moefuzz.harness.campaign.reducing import Reduced
from moefuzz.harness.campaign.run_folder import RunFolder
from moefuzz.harness.campaign.turn import choose_next
from moefuzz.harness.failures import WRONG_VALUE
from moefuzz.harness.levels.cases import GroupedGemmCase
from moefuzz.harness.planted.ten_faults import FAULTS, planted
from moefuzz.harness.report.folder import Report, read_all
from moefuzz.harness.run_log.event_log import EventLog
from moefuzz.harness.run_log.state import read_state
from moefuzz.harness.targets import Target
from moefuzz.harness.targets.registry import load_target
from moefuzz.kernels.reference import grouped_gemm_reference
from moefuzz.strategies.regimes import exact_cases

CASE = GroupedGemmCase((2,), N=3)
FAILURE = WRONG_VALUE["Y"](CASE, "t", "Y is wrong")
TEN = "moefuzz.harness.planted.ten_faults:ten_faults"


def two_bugs(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    """Y is wrong where N is odd, and where K > 16: one bucket, and the second is minimised into the first if nothing forbids it."""
    wrong = W.shape[2] > 16 or W.shape[1] % 2 == 1
    return grouped_gemm_reference(X, W, m_sizes, 1) + wrong


def steps(run: RunFolder, target: Target, seconds: float) -> Iterator[Step]:
    return Campaign(run, [target], {"grouped_gemm": {"exact": exact_cases}}).steps(time.monotonic() + seconds)


def test_a_bug_behind_another_of_its_bucket_gets_a_report_of_its_own(tmp_path: Path) -> None:
    run, target = RunFolder(tmp_path), Target("two", two_bugs)
    reported: list[GroupedGemmCase] = []
    for step in steps(run, target, 40.0):
        if isinstance(step, Reduced) and step.found.outcome == "report":
            assert step.failure is not None and isinstance(step.failure.case, GroupedGemmCase)
            reported.append(step.failure.case)
        if len(reported) == 2:
            break
    assert {(case.N, case.K) for case in reported} == {(1, 1), (2, 17)}
    assert len(list(run.reports.iterdir())) == 2


def test_a_bucket_has_one_candidate_at_a_time_and_one_process_reduces_it(tmp_path: Path) -> None:
    run, other = RunFolder(tmp_path), RunFolder(tmp_path)
    assert run.offer(FAILURE, "t", "any", b"choices") is not None and other.offer(FAILURE, "t", "any") is None
    with run.taken({"t"}) as mine, other.taken({"t"}) as theirs:
        assert mine is not None and theirs is None
        assert mine == Found.from_json(mine.to_json()) and mine.failure.bucket == FAILURE.bucket and mine.choices == b"choices"
    with other.taken({"another"}) as theirs:
        assert theirs is None
    with other.taken({"t"}) as theirs:
        assert theirs is not None and theirs.tries == 2, "who had it before was killed"


def test_who_died_again_and_again_over_a_failure_leaves_it_reported_as_found(tmp_path: Path) -> None:
    run, target = RunFolder(tmp_path), Target("two", two_bugs)
    found = run.offer(WRONG_VALUE["Y"](GroupedGemmCase((5,), K=31), "two", "Y is wrong"), "two", "exact")
    assert found is not None
    found.tries = 3
    run.keep(found)
    reduced = next(step for step in steps(run, target, 5.0) if isinstance(step, Reduced))
    assert reduced.failure is not None and reduced.failure.case == found.case and reduced.found.outcome == "report"


def test_events_survive_a_cut_off_line_and_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder(tmp_path)
    file = tmp_path / "events" / "0.ndjson"
    file.write_text('{"at": 1, "wor')
    events = EventLog(run.path, "0")
    monkeypatch.setattr(events, "file", Path("/dev/full"))
    events.say("turn", {"examples": 1})
    monkeypatch.undo()
    events.say("turn", {"examples": 2})
    _, *whole = file.read_text().splitlines()
    assert [json.loads(line)["examples"] for line in whole] == [1, 2]


def test_an_example_that_met_something_new_is_taken_up_by_the_next_run(tmp_path: Path) -> None:
    database, ran = InMemoryExampleDatabase(), list[int]()
    regime = {"grouped_gemm": {"one": lambda _: st.integers(700, 10**6).map(lambda seed: GroupedGemmCase((1,), seed=seed))}}
    target = Target("noted", lambda X, W, m_sizes: grouped_gemm_reference(X, W, m_sizes, 1))
    Explorer([target], regime, RunFolder(tmp_path / "a"), database=database).turn(time.monotonic() + 20)
    ((shared,),) = database.data.values()
    assert choices_from_bytes(shared) == (700,)
    SharedExamples(database, "noted", "one").keep(choices_to_bytes((777,)))
    regime = {"grouped_gemm": {"one": lambda _: st.integers(700, 10**6).map(lambda seed: ran.append(seed) or GroupedGemmCase((1,)))}}  # type: ignore[func-returns-value]
    Explorer([target], regime, RunFolder(tmp_path / "b"), database=database).turn(time.monotonic() + 20)
    assert {700, 777} == set(ran[:2]), "they come first"


def test_everybody_has_a_turn_and_what_is_worth_more_has_more() -> None:
    import random

    chance, target = random.Random(0), load_target("torch_loop")  # noqa: S311
    lines = [Line(target, name, st.none()) for name in "abc"]
    firsts = []
    for _ in range(3):
        firsts.append(choose_next(lines, chance))
        firsts[-1].turns += 1
    assert firsts == lines
    lines[0].priority, lines[0].turns = 10.0, 500
    drawn = [choose_next(lines, chance).regime for _ in range(200)]
    assert drawn.count("a") > 120 and drawn.count("b") + drawn.count("c") > 10


def test_gpus_are_named_by_uuid_or_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus, "_smi", lambda _: [("0", "GPU-aa"), ("1", "GPU-bb")])
    assert gpus.chosen("all") == ["GPU-aa", "GPU-bb"] and gpus.chosen("1,GPU-a") == ["GPU-bb", "GPU-aa"]
    with pytest.raises(gpus.NoSuchGpu, match="there is no GPU 7 here, only 0, 1"):
        gpus.chosen("7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-bb")
    assert gpus.chosen("all") == ["GPU-bb"]


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(gpus.NoSuchGpu, match=r"^no NVIDIA GPU here: there is no nvidia-smi$"):
        gpus.chosen("all")


def started(folder: Path, *more: str, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "moefuzz.harness", "fuzz", "--run", str(folder), "--time", f"{seconds}s", *more]
    environment = {**os.environ, "CI": ""}
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)  # noqa: S603


@pytest.mark.heavy
def test_a_run_ends_on_time_with_its_page_and_its_exit_code(tmp_path: Path) -> None:
    run = started(
        tmp_path, "--workers", "1", "-t", "moefuzz.harness.planted.faults:leaves_empty_expert_dw_unwritten", "--no-isolate", seconds=20
    )
    out, _ = run.communicate(timeout=120)
    (report,) = read_all(tmp_path / "reports")
    assert run.returncode == 1 and "1 new failure" in out and isinstance(report, Report) and report.case == GroupedGemmCase((0,))
    assert (tmp_path / "summary.html").read_text().rstrip().endswith("</html>")
    again = started(tmp_path, "--workers", "1", "--no-isolate", seconds=15)
    out, _ = again.communicate(timeout=120)
    assert again.returncode == 0 and "resumed: 1 report" in out and "0 new failures" in out, "it is known by now"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_end_says_what_it_has(tmp_path: Path, number: signal.Signals) -> None:
    run = started(tmp_path, "--workers", "1", "-t", "torch_loop", "--no-isolate", seconds=300)
    until = time.monotonic() + 60
    while not any((tmp_path / "running").glob("*.json")) and time.monotonic() < until:
        time.sleep(0.2)
    run.send_signal(number)
    out, _ = run.communicate(timeout=60)
    (worker,) = read_state(tmp_path).workers.values()
    assert worker.why == "interrupted", "it could say so itself"
    assert run.returncode == 130 and "the whole run" in out and (tmp_path / "summary.html").exists()
    assert not [one for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in (one.info["cmdline"] or [])], "nobody is left"


@pytest.mark.heavy
def test_a_killed_worker_and_a_killed_run_lose_nothing(tmp_path: Path) -> None:
    run = started(tmp_path, "--workers", "2", "-t", TEN, "--case-time", "10s", seconds=300)
    for at_least in (1, 2):  # reports, and then somebody is killed
        until = time.monotonic() + 120
        while len(list(tmp_path.glob("reports/*/report.md"))) < at_least and time.monotonic() < until:
            time.sleep(0.2)
        if at_least == 1:
            next(one for one in psutil.Process(run.pid).children() if "moefuzz.harness.campaign.worker" in one.cmdline()).kill()
            time.sleep(5)
    for one in [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]:
        one.kill()
    run.communicate(timeout=30)
    before = {report.id for report in read_all(tmp_path / "reports") if isinstance(report, Report)}
    again = started(tmp_path, "--workers", "2", seconds=30)
    out, _ = again.communicate(timeout=400)
    reports = [report for report in read_all(tmp_path / "reports") if isinstance(report, Report)]
    faults = [planted(report.case) for report in reports if isinstance(report.case, GroupedGemmCase)]
    assert "resumed:" in out and len(faults) >= 4 and before
    assert all(len(names) == 1 for names in faults) and len({names[0] for names in faults}) == len(faults) <= len(FAULTS), faults
    assert len(read_state(tmp_path).deaths) >= 1
