"""Cases in processes of their own: every way to end one is a failure like any other, found, minimised and confirmed."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch
from hypothesis import HealthCheck, Verbosity, given, settings
from hypothesis import strategies as st
from hypothesis.database import InMemoryExampleDatabase
from hypothesis.errors import Unsatisfiable
from typer.testing import CliRunner

from moefuzz.harness.base import ambient
from moefuzz.harness.base.resources import KeepsWhatHadNoRoom, LostDevice, NoRoom
from moefuzz.harness.cli import commands
from moefuzz.harness.failures import Failure, Hang, failure_from_exception, not_refused
from moefuzz.harness.levels.cases import GroupedGemmCase
from moefuzz.harness.planted.process_faults import MINIMAL
from moefuzz.harness.report.write import write
from moefuzz.harness.targets import Target
from moefuzz.harness.targets.registry import load_target
from moefuzz.harness.verdict import isolation
from moefuzz.harness.verdict.check import check, failure_of
from moefuzz.harness.verdict.isolation import Isolation, confirmed, isolated, isolation_for
from moefuzz.kernels.reference import grouped_gemm_reference
from moefuzz.strategies.regimes import any_cases
from moefuzz.tests.selftest.support.strategy_checks import found_by_fuzzing

SMALL = GroupedGemmCase(m_sizes=(2, 4), N=4, K=4)
FAULTS = "moefuzz.harness.planted.process_faults:"
FORGETS = "moefuzz.harness.planted.faults:forgets_the_row_mask"


@pytest.fixture(scope="module")
def apart() -> Iterator[Isolation]:
    with isolated(5.0) as isolation:
        yield isolation


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ("aborts_behind_an_empty_expert", "Crash", "SIGABRT"),
        pytest.param("exits_where_an_expert_has_three_rows", "Crash", "by os._exit(3), at process_faults.py:", marks=pytest.mark.heavy),
        pytest.param("stores_far_away_below_seventeen_deep", "Crash|CudaError", "SIGSEGV|CUDA error", marks=pytest.mark.heavy),
        ("stores_behind_an_empty_last_expert", "WroteOutside", "bytes behind an allocation"),
    ],
)
def test_what_reaches_beyond_its_result_is_a_failure_and_minimised(fault: str, kind: str, says: str) -> None:
    failure = next(found_by_fuzzing(load_target(FAULTS + fault), 20.0, any_cases))
    assert (
        failure.case == MINIMAL[fault] and failure.kind.base in kind.split("|") and any(word in failure.finding for word in says.split("|"))
    )
    assert f"replay {'--isolate ' if failure.kind.ends_a_process else ''}--target {FAULTS}{fault}" in str(failure)
    assert "    memory    inputs guarded, " in str(failure) and failure.origin is not None and failure.origin.device
    assert check(SMALL).case == SMALL, "the next case runs"


@pytest.mark.heavy
def test_a_loop_is_ended_and_then_found_in_less_time(apart: Isolation) -> None:
    apart._took.append(0.1)
    target, odd = load_target(FAULTS + "loops_on_odd_columns"), GroupedGemmCase((1,), N=5)
    first = failure_of(odd, target)
    with apart.hurrying():
        second = failure_of(odd, target)
    assert isinstance(first, Hang) and first.finding.startswith("still ran after 5 s, at process_faults.py:")
    assert second is not None and second.finding.startswith("still ran after 2 s, at ")
    again = confirmed(second, lambda case: failure_of(case, target), target)
    assert isinstance(again, Hang) and again.finding.startswith("still ran after 5 s")


def test_a_worker_says_what_this_process_says(apart: Isolation) -> None:
    wrong, right = GroupedGemmCase((1, 1)), GroupedGemmCase((2, 1), N=3, K=5, data="wide", seed=3)
    there = [failure_of(wrong, load_target(FORGETS)), check(right).shares]
    assert isolation_for(load_target(FORGETS)) is apart
    with ambient.using(isolation=None):
        here = [failure_of(wrong, load_target(FORGETS)), check(right).shares]
    assert str(there[0]) == str(here[0]) and type(there[0]) is type(here[0]) and there[1] == here[1]


@pytest.mark.usefixtures("apart")
def test_threads_take_turns_with_the_worker_and_one_is_not_blamed_for_what_ends_it_in_another() -> None:
    aborts, fine = load_target(FAULTS + "aborts_behind_an_empty_expert"), load_target("torch_loop")
    cases = [(MINIMAL["aborts_behind_an_empty_expert"], aborts), (SMALL, fine)] * 3
    with ThreadPoolExecutor(len(cases)) as pool:
        failures = list(pool.map(lambda case: failure_of(*case), cases))
    assert [failure and failure.kind.base for failure in failures] == ["Crash", None] * 3


THEIRS = """
import ctypes, os, signal, sys, time
import torch


def ends_with_0(X, W, m_sizes):
    os._exit(0)


def ends_in_c(X, W, m_sizes):
    ctypes.CDLL(None).exit(0)


def kills_its_parent(X, W, m_sizes):
    os.kill(os.getppid(), signal.SIGKILL)
    os._exit(1)


def raises_much(X, W, m_sizes):
    raise ValueError("one\\n# two \\udce4")


def never_ends(X, W, m_sizes):
    while True:
        time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("kernel", "says"),
    [
        ("ends_with_0", "ended its process by os._exit(0), at silent.py:7 in ends_with_0"),
        pytest.param("ends_in_c", "without a word", marks=pytest.mark.heavy),
        pytest.param("kills_its_parent", "ended its process", marks=pytest.mark.heavy),
    ],
)
def test_a_process_that_ends_without_a_word_has_crashed_and_the_next_case_runs(
    kernel: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "silent.py").write_text(THEIRS)
    monkeypatch.chdir(tmp_path)
    with isolated(30.0):
        failure = failure_of(SMALL, load_target(f"silent:{kernel}"))
        assert failure is not None and failure.kind.base == "Crash" and says in failure.finding
        assert check(SMALL).case == SMALL


def test_a_stranger_who_kills_the_process_that_starts_workers_makes_no_failure() -> None:
    with isolated(30.0) as apart:
        for whose in (psutil.Process.parent, lambda worker: worker):
            process = whose(psutil.Process(apart._worker))  # that of now: the one before is ended
            assert process is not None
            process.kill()
            assert check(SMALL).case == SMALL
            apart._renew()


def test_a_message_of_many_lines_is_one_and_the_script_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loud.py").write_text(THEIRS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:strict")  # as standard output is where the locale is one of UTF-8
    with isolated(30.0):
        failure = failure_of(SMALL, load_target("loud:raises_much"))
        assert failure is not None and failure.finding.startswith("raised ValueError: one # two \\udce4, at loud.py:")
        page = (write(failure, load_target("loud:raises_much"), tmp_path) / "report.md").read_text()
    assert "it showed the failure." in page


@pytest.mark.heavy
def test_a_worker_ends_with_the_process_that_it_works_for(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(THEIRS)
    command = [sys.executable, "-m", "moefuzz.harness", "replay", "--isolate", "-t", "endless:never_ends", repr(SMALL)]
    run = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)  # noqa: S603
    found = [sys.executable, "-c", f"import os; print(sum(os.getsid(int(p)) == {run.pid} for p in os.listdir('/proc') if p.isdigit()))"]

    def running() -> int:
        return int(subprocess.run(found, capture_output=True, text=True, check=True).stdout)  # noqa: S603

    stop = time.monotonic() + 40
    while running() < 4 and time.monotonic() < stop:
        time.sleep(0.2)
    time.sleep(1)
    run.kill()
    run.wait()
    while running() and time.monotonic() < stop:
        time.sleep(0.2)
    assert running() == 0


@pytest.mark.usefixtures("apart")
def test_memory_that_others_hold_is_no_failure() -> None:
    with pytest.raises(NoRoom, match="Tried to allocate"):
        check(SMALL, load_target(FAULTS + "meets_a_full_device"))
    done = CliRunner().invoke(commands.app, ["fuzz", "--time", "20s", "-t", FAULTS + "meets_a_full_device"])
    assert done.exit_code == 3 and "stopped: no case had room for a whole round of the regimes" in done.stdout


@pytest.mark.parametrize("fault", ["asks_for_too_much", "raises_memory_error"])
def test_memory_that_no_machine_has_is_a_failure(fault: str) -> None:
    failure = failure_of(SMALL, load_target(FAULTS + fault))
    assert failure is not None and failure.kind.base == "Raised", "for six rows of four numbers"


def test_a_stored_failure_that_has_no_room_now_stays_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = InMemoryExampleDatabase()
    monkeypatch.setattr(KeepsWhatHadNoRoom, "_stored", stored)
    raises: list[Exception | None] = [ValueError("wrong")]

    def sometimes(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
        if raises[0] is not None:
            raise raises[0]
        return grouped_gemm_reference(X, W, m_sizes, 1)

    target = Target("sometimes", sometimes)

    @settings(max_examples=5, database=KeepsWhatHadNoRoom(), derandomize=False, report_multiple_bugs=False, verbosity=Verbosity.quiet,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.integers())
    def attempt(_: int) -> None:
        check(SMALL, target)

    def kept() -> int:
        with suppress(Failure, Unsatisfiable):
            attempt()
        return sum(len(values) for values in stored.data.values())

    first = kept()
    raises[0] = RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 is full")
    assert first > 0 and kept() == first
    raises[0] = None
    assert kept() == 0, "mended"


@pytest.mark.usefixtures("apart")
def test_a_failure_that_no_other_process_shows_is_unreproducible() -> None:
    seen = Failure(SMALL, "triton", "once")
    found = confirmed(seen, lambda case: failure_of(case, load_target("triton")), load_target("triton"))
    assert str(found.kind) == "Unreproducible Failure" and "none of 3 processes" in str(found)


@pytest.mark.usefixtures("apart")
def test_an_exception_keeps_its_traceback_in_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kernel_that_raises.py").write_text("def f(X, W, m_sizes):\n    raise ValueError('not today')\n")
    monkeypatch.chdir(tmp_path)
    with isolated(20.0), pytest.raises(Failure, match="not today") as info:
        check(SMALL, load_target("kernel_that_raises:f"))
    assert type(info.value).__name__ == "Raised_ValueError" and 'kernel_that_raises.py", line 2, in f' in info.value.__notes__[0]


@pytest.mark.usefixtures("apart")
def test_a_target_that_no_worker_can_find_runs_here() -> None:
    here = Target("here", lambda X, W, m_sizes: grouped_gemm_reference(X, W, m_sizes, 1))
    assert isolation_for(here) is None and check(SMALL, here).case == SMALL


def test_without_a_worker_nothing_is_said_of_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "start", os.abort)
    with pytest.raises(LostDevice, match="no worker process can be started"):
        Isolation()
    done = CliRunner().invoke(commands.app, ["replay", "--isolate", repr(SMALL)])
    assert done.exit_code == 3 and done.stderr.startswith("moefuzz: no worker process") and done.stderr.count("\n") == 1


def test_every_kind_of_failure_can_be_sent() -> None:
    kinds = [made(SMALL, "t", "finding") for made in Failure.__subclasses__() if made.kind.base not in ("Raised", "Failure")]
    kinds += [failure_from_exception(SMALL, "t", failing()), *(not_refused(failure, "too small") for failure in kinds)]
    for failure in kinds:
        sent = copy.copy(failure)
        assert (type(sent), sent.bucket, sent.finding, sent.case) == (type(failure), failure.bucket, failure.finding, failure.case)


def failing() -> BaseException:
    try:
        torch.zeros(1).view(2)
    except RuntimeError as error:
        return error
    raise AssertionError
