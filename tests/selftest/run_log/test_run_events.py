"""The folder of a long run is read whole, or as far as it goes; several of them are one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from moefuzz.harness.cli import commands
from moefuzz.harness.run_log.events import BadRun, Tail, events_of, info_of, running_in
from moefuzz.harness.run_log.merge import merge
from moefuzz.harness.run_log.records import BadEvent, TurnEvent, record_of
from moefuzz.harness.run_log.state import read_state
from moefuzz.tests.selftest.support.run_folders import BEGAN, found, reduced, started, turn, write_night, write_run

NO_EVENTS = [b"\x00\xff", b"[1]", b"{", b"[" * 100_000, b'{"at": 1}', b'{"at": true, "worker": "w", "kind": "turn"}', b"9" * 5_000]


def append(run: Path, worker: str, line: bytes) -> None:
    with (run / "events" / f"{worker}.ndjson").open("ab") as file:
        file.write(line)


def test_events_come_by_time_and_what_is_none_is_counted(tmp_path: Path) -> None:
    run = write_run(tmp_path, *(turn(BEGAN + at, f"w{at % 2}", examples=at) for at in range(6)))
    for line in NO_EVENTS:
        append(run, "w0", line + b"\n")
    append(run, "w0", b'\n{"at": 1, "worker": "w0", "kind": "tu')
    skipped = Counter[str]()
    assert [event["examples"] for event in events_of(run, skipped)] == list(range(6))
    assert skipped == {"w0.ndjson": len(NO_EVENTS)}, "a line that is cut off is not finished"


def test_a_tail_gives_each_event_once_and_a_cut_off_line_when_it_is_whole(tmp_path: Path) -> None:
    run, first = write_run(tmp_path, turn(BEGAN)), turn(BEGAN + 2, "new")
    tail = Tail(run)
    assert len(list(tail.new())) == 1 and list(tail.new()) == []
    write_run(run, first, turn(BEGAN + 1))
    line = json.dumps(turn(BEGAN + 3)).encode() + b"\n"
    append(run, "node1-0", line[:20])
    assert [event["at"] for event in tail.new()] == [BEGAN + 1, BEGAN + 2]
    append(run, "node1-0", line[20:] + b"garbage\n")
    assert [event["at"] for event in tail.new()] == [BEGAN + 3] and tail.skipped.total() == 1


def test_a_tail_and_a_reading_of_the_whole_agree(tmp_path: Path) -> None:
    run = write_night(tmp_path / "night", hours=0.2)
    assert sorted(map(repr, Tail(run).new())) == sorted(map(repr, events_of(run)))


@pytest.mark.parametrize(
    "wrong",
    [{"examples": "many"}, {"examples": -1}, {"examples": True}, {"seconds": float("nan")},
     {"shares": []}, {"slowest": [[1]]}, {"target": None}],
)  # fmt: skip
def test_a_broken_field_is_told_from_an_unknown_kind(wrong: dict[str, object]) -> None:
    with pytest.raises(BadEvent):
        record_of(turn(BEGAN) | wrong)
    assert record_of(turn(BEGAN) | {"kind": "of tomorrow"}) is None


def test_what_a_terminal_would_obey_is_not_read() -> None:
    record = record_of(turn(BEGAN, target="a\x1b[2Jb\n", covered={"dtype": {"\x07": 1}}))
    assert isinstance(record, TurnEvent) and record.target == "a?[2Jb " and record.covered == {"dtype": {"?": 1}}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', "[" * 100_000, "\x00"])
def test_a_run_that_cannot_be_read_is_one_line_and_exit_code_2(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    for arguments in (
        ["summary", str(tmp_path)],
        ["merge", str(tmp_path), "--into", str(tmp_path / "all")],
        ["summary", str(tmp_path / "no")],
    ):
        done = CliRunner().invoke(commands.app, arguments)
        assert done.exit_code == 2 and done.stderr.count("\n") == 1 and done.stderr.startswith("moefuzz: ")


def test_odd_values_in_what_a_run_says_are_left_out(tmp_path: Path) -> None:
    info = info_of(write_run(tmp_path, targets=[1, "t"], seconds="long", starts=[None, 5, "x"], regimes={"t": ["any", 7]}, command=8))
    assert (info.targets, info.seconds, info.starts, info.regimes, info.command) == (("t",), 0.0, ((5.0,),), (("t", "any"),), "")


def test_the_turn_under_way_is_read_whatever_follows_its_line(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    (run / "running").mkdir()
    (run / "running" / "w.json").write_text(json.dumps({"target": "t", "case": {}, "turn": {"at": BEGAN, "worker": "w"}}) + '\n"rest"}')
    (run / "running" / "v.json").write_text('{"turn": 5}')
    (run / "running" / "u.json").write_bytes(b"")
    assert {worker: said["turn"]["kind"] for worker, said in running_in(run).items()} == {"w": "turn"}


def hosts(folder: Path) -> tuple[Path, Path]:
    """Two hosts whose workers have the same name, and which found the same failure."""
    made = []
    for host, examples in (("a", 3), ("b", 40)):
        ended = {"at": BEGAN + 60, "worker": "supervisor", "kind": "died", "of": "w", "status": -9, "restarts": 1}
        events = started(BEGAN, "w", host=host), turn(BEGAN + 10, "w", examples=examples), found(BEGAN + 11, "w"), reduced(BEGAN + 50, "w")
        run = write_run(folder / host, *events, ended | {"at": BEGAN + 60 + examples}, starts=[BEGAN + examples], command=f"fuzz on {host}")
        (run / "reports" / "43ef52a5").mkdir(parents=True)
        (run / "reports" / "43ef52a5" / "report.md").write_text(f"by {host}")
        made.append(run)
    return made[0], made[1]


def test_the_runs_of_two_hosts_are_one_and_workers_of_one_name_stay_two(tmp_path: Path) -> None:
    a, b = hosts(tmp_path)
    state = read_state(merge([a, b], tmp_path / "all"))
    assert {worker.name: (worker.host, worker.examples, worker.restarts) for worker in state.workers.values()} == {
        "w": ("a", 3, 1), "w.2": ("b", 40, 1),
    }  # fmt: skip
    assert (len(state.failures.reported), state.failures.reported[0].again, state.failures.pending) == (1, 1, [])
    assert state.info.command == "fuzz on a; fuzz on b" and state.info.resumed == 0 and state.began_at == BEGAN + 3
    assert (tmp_path / "all" / "reports" / "43ef52a5" / "report.md").read_text() == "by a"


def test_a_run_that_is_given_twice_or_merged_before_counts_once(tmp_path: Path) -> None:
    a, b = hosts(tmp_path)
    both = merge([a, b, a], tmp_path / "both")
    write_run(a, turn(BEGAN + 90, "w", examples=1_000), starts=[BEGAN + 3, BEGAN + 80])
    state = read_state(merge([both, b, a], tmp_path / "again"))
    assert state.examples == 1_043 and sorted(state.workers) == ["w", "w.2"] and len(state.deaths) == 2 and state.info.resumed == 1


def test_a_turn_that_was_cut_off_is_merged_under_its_workers_name(tmp_path: Path) -> None:
    a, b = hosts(tmp_path)
    (b / "running").mkdir()
    (b / "running" / "w.json").write_text(json.dumps({"target": "t", "case": {}, "turn": turn(BEGAN + 30, "w", examples=5)}) + "\n")
    assert read_state(merge([a, b], tmp_path / "all")).workers["w.2"].examples == 45


def test_nothing_is_merged_into_a_folder_that_holds_something(tmp_path: Path) -> None:
    a, b = hosts(tmp_path)
    with pytest.raises(BadRun, match="not empty"):
        merge([a], b)
    done = CliRunner().invoke(commands.app, ["merge", str(a), str(b), "--into", str(tmp_path / "all")])
    assert done.exit_code == 0 and done.stdout.startswith("2 runs in ")
