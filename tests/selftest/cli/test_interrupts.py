"""A run that is interrupted at any moment says what it has found: Ctrl-C and SIGTERM in each stage, and from outside at any time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from moefuzz.harness.base import signals
from moefuzz.harness.campaign import explore, reducing, run_folder
from moefuzz.harness.cli import commands, short_run
from moefuzz.harness.reduction import reduce
from moefuzz.harness.report import write
from moefuzz.harness.report.folder import Report, read_all

WRONG = """
import torch

def doubles(X, W, m_sizes):
    parts = zip(X.split(m_sizes.tolist()), W)
    return torch.cat([(x.float() @ w.float().T).to(X.dtype) for x, w in parts]) * (2 if len(m_sizes) > 2 else 1)
"""
MOMENTS: list[tuple[str, Any, str, int]] = [
    *(("exploring", explore, "check", call) for call in (1, 9, 20)),
    *(("offering", run_folder.RunFolder, "offer", call) for call in (1,)),
    *(("keeping", run_folder, "_replace", call) for call in (1, 2)),
    *(("shrinking", reduce, "failure_of", call) for call in (1, 4, 12, 30)),
    ("minimising", reduce, "minimise", 1),
    ("confirming", reduce, "confirmed", 1),
    *(("explaining", reducing, "failure_of", call) for call in (1, 7, 40)),
    *(("writing", write, name, call) for name, call in (("_write", 1), ("_write", 2), ("examine", 1), ("script", 1), ("shows", 1))),
    *(("printing", short_run.ShortRun, name, 1) for name in ("_report", "_take")),
]
"""(stage, where, function, the call of it before which the run is interrupted)"""


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "wrong_when_interrupted.py").write_text(WRONG)
    monkeypatch.chdir(tmp_path)
    before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
    signals.listen()
    yield "wrong_when_interrupted:doubles"
    signals._told = signals._listens = False
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.heavy
@pytest.mark.parametrize(("stage", "where", "name", "call"), MOMENTS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_an_interrupt_in_any_stage_loses_nothing(
    stage: str, where: Any, name: str, call: int, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, original = 0, getattr(where, name)

    def interrupted(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            signal.raise_signal(signal.SIGTERM if call % 2 else signal.SIGINT)
        return original(*arguments, **keywords)

    monkeypatch.setattr(where, name, interrupted)
    done = CliRunner().invoke(commands.app, ["fuzz", "--no-isolate", "--time", "60s", "--seed", "1", "-t", wrong])
    assert calls >= call and done.exit_code == 130 and "interrupted" in done.stdout, done.output
    reports = [report for report in read_all(Path("moefuzz-reports")) if isinstance(report, Report)]
    found = [line for line in done.stdout.splitlines() if line.startswith("failed WrongValue of ")]
    if stage == "exploring":  # an example that failed may have come before
        assert len(found) == len(reports) and ("nothing found until then" in done.stdout) == (not reports)
    else:
        assert found and len(reports) >= len(found) and "nothing found" not in done.stdout and "FAILED" in done.stdout
    assert all(f"{report.id}/report.md" in done.stdout for report in reports[-len(found) :])
    assert not [*Path("moefuzz-reports").glob(".new-*")], "a report is there whole or not at all"


def test_there_are_twenty_moments_in_every_stage() -> None:
    assert len(MOMENTS) >= 20 and {stage for stage, *_ in MOMENTS} >= {"exploring", "shrinking", "explaining", "confirming", "writing"}


@pytest.mark.heavy
@pytest.mark.parametrize(("number", "after"), [(signal.SIGINT, 0.0), (signal.SIGTERM, 1.0), (signal.SIGHUP, 4.0), (signal.SIGTERM, 9.0)])
def test_an_interrupt_from_outside_ends_an_isolated_run_with_what_it_has(number: signal.Signals, after: float, tmp_path: Path) -> None:
    (tmp_path / "wrong_from_outside.py").write_text(WRONG.replace("    parts", "    import time; time.sleep(0.02)\n    parts"))
    code = "from signal import *; signal(SIGHUP, SIG_DFL); from moefuzz.harness.__main__ import main; main()"  # which nohup ignores
    command = [sys.executable, "-u", "-c", code, "fuzz", "--time", "300s", "--seed", "1", "-t", "wrong_from_outside:doubles"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True) as run:  # noqa: S603
        assert run.stdout is not None
        lines = _until(run.stdout, lambda line: line.startswith("found WrongValue"))
        time.sleep(after)
        began = time.monotonic()
        os.killpg(run.pid, number)  # as a terminal does, to all processes of the run
        lines += run.stdout.readlines()
    assert run.returncode == 130 and time.monotonic() < began + 30
    text = "".join(lines)
    assert "FAILED" in text and "failed WrongValue of Y" in text and "nothing found" not in text and "Traceback" not in text
    assert [*tmp_path.glob("moefuzz-reports/*/report.md")]


def test_what_is_interrupted_before_anything_is_known_says_so(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explore, "check", lambda *_: signal.raise_signal(signal.SIGINT))
    done = CliRunner().invoke(commands.app, ["fuzz", "--no-isolate", "--time", "60s", "-t", wrong])
    assert done.exit_code == 130 and "interrupted" in done.stdout and "nothing found until then" in done.stdout


def test_an_error_of_moefuzz_loses_nothing_either(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise TypeError("of ours")

    monkeypatch.setattr(reducing, "explain", broken)
    done = CliRunner().invoke(commands.app, ["fuzz", "--no-isolate", "--time", "60s", "-t", wrong])
    assert done.exit_code == 4 and "FAILED" in done.stdout and "stopped by an error of moefuzz itself: TypeError: of ours" in done.stdout
    assert [*Path("moefuzz-reports").glob("*/report.md")]


def _until(stream: Any, condition: Callable[[str], bool]) -> list[str]:
    lines = []
    for line in stream:
        lines.append(line)
        if condition(line):
            break
    return lines
