"""A long run as it is counted from its events, and the screen that follows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from moefuzz.harness.cli.screen import plain_line, screen
from moefuzz.harness.report.summary_coverage import coverage_of, remainders_of
from moefuzz.harness.run_log.events import RunInfo
from moefuzz.harness.run_log.state import RunState, cut_off, read_state
from moefuzz.harness.run_log.time_series import MOST_STEPS
from moefuzz.tests.selftest.support.run_folders import BEGAN, CASE, FAILURES, found, reduced, started, turn, write_night, write_run


def state_of(*events: dict[str, Any], **info: Any) -> RunState:
    state = RunState(RunInfo(**info))
    for event in events:
        state.add(event)
    return state


def said(at: float, kind: str, worker: str = "supervisor", **fields: Any) -> dict[str, Any]:
    return {"at": BEGAN + at, "worker": worker, "kind": kind, **fields}


def shown(state: RunState, now: float, width: int, height: int) -> str:
    console = Console(width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(screen(state, now))
    return capture.get()


def test_turns_add_up_by_target_and_regime() -> None:
    first = turn(BEGAN + 10, failing=2, refused=1, compiles=3, shares={"Y": 0.25, "dX": 0.5}, covered={"topk": {"1": 90, "2": 10}})
    second = turn(BEGAN + 30, "node1-1", known=4, no_room=5, shares={"Y": 0.375}, covered={"topk": {"2": 1}})
    state = state_of(started(BEGAN), first, second, turn(BEGAN + 40, regime="tail", examples=7, seconds=2.5))
    regime = state.regimes["triton", "any"]
    assert (regime.examples, regime.seconds, regime.failing, regime.known, regime.refused, regime.no_room) == (200, 20.0, 2, 4, 1, 5)
    assert (regime.last_at, regime.share, regime.tensor) == (BEGAN + 30, 0.5, "dX")
    assert state.shares == {("triton", "Y"): (0.375, "any"), ("triton", "dX"): (0.5, "any")}
    assert (state.examples, state.compiles, state.elapsed, state.covered["topk"]) == (207, 3, 40.0, {"1": 90, "2": 11})
    assert state.examples_over_time.total()[-1] == (41.0, 207.0)


def test_a_failure_is_found_then_reduced_and_told_from_what_it_is_again() -> None:
    twice = found(BEGAN + 20), found(BEGAN + 25, "node1-1")
    state = state_of(started(BEGAN), *twice)
    assert len(state.failures.pending) == 2 and len(state.failures.waiting) == 1 and state.failures.waiting[0].found == 20.0
    assert state.workers["node1-0"].state == "reducing"
    for event in (reduced(BEGAN + 60, "node1-1"), reduced(BEGAN + 70)):
        state.add(event)
    [one] = state.failures.reported
    assert (one.found, one.reported, one.again, one.needs[0], one.failure) == (25.0, 60.0, 1, "K > 16", "WrongValue of dW")
    assert state.failures.pending == [] and state.workers["node1-0"].state == "running"
    behind = reduced(BEGAN + 90, report="ffffffff"), reduced(BEGAN + 95, outcome="same", report=None)
    for event in behind:
        state.add(event)
    assert [one.again for one in state.failures.reported] == [1, 1], "a second bug of the same bucket is another failure"


def test_what_is_gone_or_known_is_no_failure_and_an_unwritten_report_is_one() -> None:
    events = [event for of in (3, 4) for event in (found(BEGAN + of, of=of), reduced(BEGAN + 50 + of, of=of))]
    state = state_of(*events, reduced(BEGAN + 99, report=None), reduced(BEGAN + 100, report=None))
    assert [gone.bucket[1] for gone in state.failures.gone] == ["NonFinite"] and state.failures.outcomes["known"] == 1
    assert [(one.report, one.again) for one in state.failures.reported] == [(None, 1)] and state.failures.pending == []


def test_a_worker_dies_comes_back_and_is_taken_out() -> None:
    state = state_of(started(BEGAN, gpu="GPU-1"), said(5, "died", of="node1-0", status=-9, restarts=1))
    assert (state.workers["node1-0"].state, state.workers["node1-0"].restarts, state.deaths[0].how) == ("restarting", 1, "SIGKILL")
    state.add(started(BEGAN + 9, gpu="GPU-1"))
    assert state.workers["node1-0"].state == "running" and state.until_at == BEGAN + 9
    state.add(said(20, "out", of="node1-0", gpu=None, why="CUDA error 719"))
    worker = state.workers["node1-0"]
    assert (worker.state, worker.why, worker.gpu) == ("out", "CUDA error 719", "GPU-1") and list(state.workers) == ["node1-0"]
    state.add(turn(BEGAN + 19))
    assert worker.state == "out" and state.examples == 100, "a turn that is read late counts, and starts nobody"


def test_the_time_that_a_run_was_away_is_no_time_of_the_run() -> None:
    first = started(BEGAN, seconds=100), turn(BEGAN + 40), said(45, "ended", why="interrupted")
    again = (
        said(1_045, "resumed", cases=3, found=0, reports=0),
        started(BEGAN + 1_046, seconds=55),
        turn(BEGAN + 1_056),
        found(BEGAN + 1_056),
    )
    state = state_of(*first)
    assert state.ended == "interrupted" and state.left(BEGAN + 50) == 0.0
    for event in again:
        state.add(event)
    assert (state.ended, state.elapsed, state.left(BEGAN + 1_056), state.failures.pending[0].found) == ("", 56.0, 45.0, 56.0)


def test_a_regime_without_an_example_is_named_once_each_should_have_had_one() -> None:
    events = turn(BEGAN), turn(BEGAN + 500, regime="far", examples=0, no_room=25)
    state = state_of(*events, regimes=(("triton", "tail"), ("triton", "any")))
    assert state.starving(600) == []
    state.add(turn(BEGAN + 601))
    assert [regime.name for regime in state.starving(600)] == ["tail", "far"]


def test_the_rate_is_that_of_the_workers_that_run() -> None:
    state = state_of(started(BEGAN), turn(BEGAN + 10), turn(BEGAN + 10, "node1-1", examples=50), found(BEGAN + 11, "node1-1"))
    assert state.rate_now(BEGAN + 20) == 10.0, "the second reduces"
    assert state.rate_now(BEGAN + 2_000) == 0.0, "nothing was heard of the first"


def test_a_turn_that_was_cut_off_counts_where_no_event_counts_it() -> None:
    state = state_of(turn(BEGAN + 10), turn(BEGAN + 10, "node1-1"))
    running = {
        "node1-0": {"turn": turn(BEGAN + 10)},
        "node1-1": {"turn": turn(BEGAN + 12, "node1-1")},
        "new": {"turn": turn(BEGAN + 1, "new")},
    }
    assert [event["worker"] for event in cut_off(state, running)] == ["node1-1", "new"]


def test_labels_that_were_never_reached_are_named_where_the_set_is_known() -> None:
    covered = {"dtype": {"bfloat16": 4}, "experts": {"9-16": 1, "2": 3}, "M": {"one over": 2}, "K": {"one under": 5}}
    state = state_of(turn(BEGAN, covered=covered), labels=(("experts", ("1", "2")),))
    fields = {field.name: field for field in coverage_of(state)}
    assert list(fields) == ["experts", "dtype"] and fields["dtype"].never == ("float32", "float16")
    assert [(label.name, label.examples) for label in fields["experts"].labels] == [("1", 0), ("2", 3), ("9-16", 1)]
    remainders = remainders_of(state)
    assert remainders is not None and [(name, [label.examples for label in labels]) for name, labels in remainders.rows] == [
        ("one over", [2, 0]), ("one under", [0, 5]),
    ]  # fmt: skip


def test_broken_events_are_counted_and_change_nothing() -> None:
    state = state_of(turn(BEGAN))
    for event in (turn(BEGAN + 5, examples="x"), found(BEGAN + 5, bucket=["t"]), said(5, "died"), said(5, "of tomorrow")):
        state.add(event)
    assert state.skipped == {"node1-0": 2, "supervisor": 1} and (state.examples, state.elapsed) == (100, 0.0)


def test_a_night_takes_no_more_memory_than_its_plots(tmp_path: Path) -> None:
    state = read_state(write_night(tmp_path, step=20.0, workers=2))
    assert len(state.examples_over_time.bins) <= MOST_STEPS and len(state.slowest) == 10
    assert [one.report for one in state.failures.reported] == [report for _, outcome, report, _ in FAILURES if outcome == "report"]
    assert sum(worker.examples for worker in state.workers.values()) == state.examples == sum(r.examples for r in state.regimes.values())


@pytest.mark.parametrize("workers", [0, 1, 8, 64])
@pytest.mark.parametrize("failures", [0, 3, 40])
def test_the_screen_fits_80_by_24_and_says_what_matters(workers: int, failures: int) -> None:
    state = state_of(
        *(started(BEGAN, f"node1-{i}", gpu=f"GPU-{i:08}", seconds=3_600) for i in range(workers)), seconds=3_600.0, starts=((BEGAN,),)
    )
    for i in range(failures):
        state.add(reduced(BEGAN + 700, report=f"{i:08}", failure=f"Wrong{i}", needs=["[/]\x1b[2J" * 40]))
    state.add(turn(BEGAN + 700, "node1-0", regime="[red]far", examples=0))
    for width, height in ((80, 24), (200, 60), (80, 5)):
        lines = shown(state, BEGAN + 700, width, height).rstrip("\n").split("\n")
        assert len(lines) < max(height, 24) and max(map(len, lines)) <= width
        text = "\n".join(lines)
        assert f"{failures} failure" in text and "no example yet in [red]far" in text and "\x1b[2J" not in text
        assert not failures or re.search(rf"Wrong{failures - 1} +triton .* {failures - 1:08} ", text), "the last report"
    assert workers != 64 or "GPU-" not in shown(state, BEGAN + 700, 80, 24)


def test_the_screen_shows_first_the_worker_that_is_out() -> None:
    workers = [started(BEGAN, f"node1-{i}") for i in range(64)]
    state = state_of(*workers, said(1, "out", of="node1-63", why="x"))
    assert "node1-63" in shown(state, BEGAN + 2, 80, 24) and "63 running" not in shown(state, BEGAN + 2, 80, 100)


def test_one_line_for_a_log() -> None:
    state = state_of(started(BEGAN, seconds=7_200), turn(BEGAN + 3_600, compiles=5), found(BEGAN + 3_600, "node1-1", case=CASE))
    said_in = plain_line(state, BEGAN + 3_600)
    assert said_in == "1 h left, 100 examples, 10.0/s now, 0 failures, 1 being reduced, 2 workers (1 reducing), 5 compiles"
    assert plain_line(RunState(), 0.0) == "0 s elapsed, 0 examples, 0/s now, 0 failures, 0 workers, 0 compiles"


def test_a_run_without_events_is_an_empty_state(tmp_path: Path) -> None:
    state = read_state(write_run(tmp_path))
    assert (state.examples, state.elapsed, state.began_at, state.starving(1)) == (0, 0.0, BEGAN, [])
    assert "0 examples" in shown(state, BEGAN + 5, 80, 24)
