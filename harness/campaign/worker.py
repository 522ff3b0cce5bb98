"""A worker of a run; the loop is the same under a supervisor, in an actor of Ray, or in a job of a scheduler.

python -m moefuzz.harness.campaign.worker FOLDER NAME SECONDS
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from moefuzz.harness.base.device import describe, device, one_thread, versions
from moefuzz.harness.base.exit_codes import INFRASTRUCTURE, INTERRUPTED, USAGE
from moefuzz.harness.base.resources import LostDevice
from moefuzz.harness.base.signals import ignore, listen
from moefuzz.harness.run_log.event_log import EventLog
from moefuzz.harness.targets import BadTarget
from moefuzz.harness.targets.registry import load_target
from moefuzz.harness.verdict.isolation import isolated
from moefuzz.harness.verdict.journal import InterruptedCase, interrupted_cases, written_ahead
from moefuzz.harness.verdict.known_issues import BadKnownIssues

from .campaign import Campaign, Step
from .chosen_regimes import NoSuchRegime, chosen_regimes
from .example_database import CannotShare
from .explore import Explorer, Regimes
from .found import Found
from .run_folder import RunFolder
from .settings import RunSettings
from .turn import Turn

_LOOK_SECONDS = 1.0


def work(folder: Path, name: str, seconds: float, regimes: Regimes) -> int:
    """Fuzz for so many seconds into a run's folder, with the settings of its ``run.json``; return an exit code. Raises BadRun."""
    one_thread()
    stop = time.monotonic() + seconds
    events = EventLog(folder, name)
    starts = events.file.read_bytes().count(b'"kind": "started"') if events.file.exists() else 0  # so that no two processes draw the same
    left = interrupted_cases(RunSettings.of(folder).targets, folder / "running")
    events.say("started", {**_here(), "seconds": seconds, "resumed": bool(left)})
    why, status = "time is up", 0
    try:
        asked = RunSettings.of(folder)
        campaign = _campaign(folder, asked, regimes, f"{asked.seed} {name} {starts}")
        with _kept(campaign, events):
            _fuzz(campaign, asked, events, left, stop)
    except KeyboardInterrupt:
        ignore()
        why, status = "interrupted", INTERRUPTED
    except LostDevice as error:
        why, status = str(error), INFRASTRUCTURE
        sys.stderr.write(f"{why}\n")
    except CannotShare as error:
        why, status = str(error), INFRASTRUCTURE
    except (BadTarget, BadKnownIssues, NoSuchRegime) as error:
        why, status = str(error), USAGE
    finally:
        events.say("ended", {"why": why})
    return status


def _here() -> dict[str, Any]:
    """Return host, process id, device and versions, as fields of an event."""
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES") if device().type == "cuda" else None
    return {"host": socket.gethostname(), "pid": os.getpid(), "device": describe(), "gpu": gpu, "versions": versions()}


def _campaign(folder: Path, asked: RunSettings, regimes: Regimes, seed: str) -> Campaign:
    targets = [load_target(spec) for spec in asked.targets]
    chosen = chosen_regimes(asked.only_regimes, regimes, targets)
    return Campaign(RunFolder(folder), targets, chosen, database=asked.database(), shuffled=True, seed=seed)


@contextmanager
def _kept(campaign: Campaign, events: EventLog) -> Iterator[None]:
    """Log the unfinished turn at the end, and on an interrupt save the progress of the reduction."""
    try:
        yield
    except KeyboardInterrupt:
        ignore()
        campaign.keep_now()
        raise
    finally:
        if (last := campaign.explorer.under_way()) is not None:
            events.say("turn", last.said())


def _fuzz(campaign: Campaign, asked: RunSettings, events: EventLog, left: Sequence[InterruptedCase], stop: float) -> None:
    """Run the cases during which an earlier process ended, then the campaign; log each step."""
    with asked.in_force(), written_ahead(campaign.run.path / "running", lambda: under_way(campaign.explorer, events.worker)):
        for one in left:
            if "turn" in one.said:  # the last turn of a process that was killed, as far as it was written
                events.say("turn", one.said["turn"])
        with nullcontext() if asked.isolate else isolated(asked.case_seconds):
            for turn in campaign.again(left):
                _say(events, turn)
        for step in campaign.steps(stop):
            _say(events, step)


def under_way(explorer: Explorer, name: str) -> dict[str, Any]:
    """Return what is written beside a case before it runs: the turn so far, which a killed process could not log."""
    turn = explorer.under_way()
    return {} if turn is None else {"turn": {**turn.said(), "at": time.time(), "worker": name}}


def _say(events: EventLog, step: Step) -> None:
    if isinstance(step, Turn):
        events.say("turn", step.said())
    elif isinstance(step, Found):
        events.say(
            "found", {"key": step.key, "bucket": step.bucket, "regime": step.regime, "case": repr(step.case), "finding": step.finding}
        )
    else:
        found, failure = step.found, step.failure or step.found.failure
        outcome = "report" if found.outcome == "once" else found.outcome
        said = {"key": found.key, "bucket": found.bucket, "outcome": outcome, "report": found.report, "case": repr(failure.case)}
        said |= {"finding": failure.finding, "failure": failure.title}
        needs = step.explanation.region.in_words()
        events.say("reduced", {**said, "needs": needs, "seconds": step.seconds, "said": step.said})
        for report in step.withdrawn:
            events.say("withdrawn", {"report": report})


def _end_with(owner: int) -> None:
    """End this process when the one that started it has ended."""

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(_LOOK_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    folder, name, seconds = sys.argv[1:]
    listen()
    _end_with(os.getppid())
    from moefuzz.strategies.regimes import REGIMES

    return work(Path(folder), name, float(seconds), REGIMES)


if __name__ == "__main__":
    raise SystemExit(main())
