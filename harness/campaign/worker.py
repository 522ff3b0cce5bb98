"""A worker of a run: the same loop in a process of a supervisor, in an actor of Ray, or in a job of a scheduler.

python -m moefuzz.harness.campaign.worker FOLDER NAME SECONDS
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from moefuzz.harness.base.device import describe, device, one_thread, versions
from moefuzz.harness.base.exit_codes import INFRASTRUCTURE, INTERRUPTED, USAGE
from moefuzz.harness.base.resources import LostDevice
from moefuzz.harness.base.signals import ignore, listen
from moefuzz.harness.targets import BadTarget
from moefuzz.harness.targets.registry import load_target
from moefuzz.harness.verdict.isolation import isolated
from moefuzz.harness.verdict.journal import left_over, written_ahead
from moefuzz.harness.verdict.known_issues import BadKnownIssues

from .campaign import Campaign, Reduced
from .chosen_regimes import NoSuchRegime, chosen_regimes
from .example_database import CannotShare
from .explore import Explorer, Turn
from .run_folder import Events, Found, RunFolder
from .settings import Asked

_LOOK_SECONDS = 1.0


def work(folder: Path, name: str, seconds: float) -> int:
    """Fuzz into a run's folder for so many seconds, as its ``run.json`` asks; what to end with."""
    from moefuzz.strategies.regimes import REGIMES

    one_thread()
    stop = time.monotonic() + seconds
    run = RunFolder(folder)
    events = Events(run, name)
    starts = events.file.read_bytes().count(b'"kind": "started"') if events.file.exists() else 0  # no two draw the same
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES") if device().type == "cuda" else None
    here = {"host": socket.gethostname(), "pid": os.getpid(), "device": describe(), "gpu": gpu, "versions": versions()}
    left = left_over(Asked.of(folder).targets, folder / "running")
    events.say("started", {**here, "seconds": seconds, "resumed": bool(left)})
    why, status = "time is up", 0
    campaign: Campaign | None = None
    try:
        asked = Asked.of(folder)
        targets = [load_target(spec) for spec in asked.targets]
        regimes = chosen_regimes(asked.only_regimes, REGIMES, targets)
        seed = f"{asked.seed} {name} {starts}"
        campaign = Campaign(run, targets, regimes, database=asked.database(), shuffled=True, seed=seed)
        explorer = campaign.explorer
        with asked.in_force(), written_ahead(folder / "running", lambda: under_way(explorer, name)):
            for one in left:
                if "turn" in one.said:  # all that is left of the last turn of a process that was killed
                    events.say("turn", one.said["turn"])
            with nullcontext() if asked.isolate else isolated(asked.case_seconds):
                for turn in campaign.again(left):
                    _say(events, turn)
            for step in campaign.steps(stop):
                _say(events, step)
    except KeyboardInterrupt:
        ignore()
        why, status = "interrupted", INTERRUPTED
        if campaign is not None:
            campaign.keep_now()
    except LostDevice as error:
        why, status = str(error), INFRASTRUCTURE
        sys.stderr.write(f"{why}\n")
    except CannotShare as error:
        why, status = str(error), INFRASTRUCTURE
    except (BadTarget, BadKnownIssues, NoSuchRegime) as error:
        why, status = str(error), USAGE
    finally:
        if campaign is not None and (last := campaign.explorer.under_way()) is not None:
            events.say("turn", last.said())
        events.say("ended", {"why": why})
    return status


def under_way(explorer: Explorer, name: str) -> dict[str, Any]:
    """What is written ahead beside a case: the turn so far, which a process that is killed does not say any more."""
    turn = explorer.under_way()
    return {} if turn is None else {"turn": {**turn.said(), "at": time.time(), "worker": name}}


def _say(events: Events, step: Turn | Found | Reduced) -> None:
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
    """End this process when the one that started it is no more."""

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(_LOOK_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    folder, name, seconds = sys.argv[1:]
    listen()
    _end_with(os.getppid())
    return work(Path(folder), name, float(seconds))


if __name__ == "__main__":
    raise SystemExit(main())
