"""Measure the cost of exploring: examples per second of a plain property loop, and of the explorer of a long run on the same regime.

    python benchmarks/explorer.py [--seconds 20] [--rounds 3] [--isolate] [--target triton] [--regime any]

Both take turns, so that other load of the machine affects both. The plain loop is one Hypothesis test that calls ``check``; the explorer
labels and counts cases, and writes each case before it runs and each turn after it, as a worker does. It prints both rates by round, and
the ratio of the totals.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import nullcontext, suppress
from pathlib import Path

from hypothesis import given

from moefuzz.harness.base.device import describe, one_thread, versions
from moefuzz.harness.base.hypothesis_profiles import drawn
from moefuzz.harness.campaign.explore import Explorer
from moefuzz.harness.campaign.run_folder import RunFolder
from moefuzz.harness.campaign.worker import under_way
from moefuzz.harness.run_log.event_log import EventLog
from moefuzz.harness.targets.registry import load_target
from moefuzz.harness.verdict.check import check
from moefuzz.harness.verdict.isolation import isolated
from moefuzz.harness.verdict.journal import written_ahead
from moefuzz.strategies.regimes import REGIMES


class TimeIsUpError(KeyboardInterrupt):
    """Ends Hypothesis' loop."""


def plain(strategy: object, target: object, seconds: float) -> tuple[int, float]:
    """Run the plain loop; return the number of examples and the seconds that they took."""
    count, began = 0, time.monotonic()

    @drawn(sys.maxsize)
    @given(strategy)
    def attempt(case: object) -> None:
        nonlocal count
        if time.monotonic() > began + seconds:
            raise TimeIsUpError
        check(case, target)
        count += 1

    with suppress(TimeIsUpError):
        attempt()
    return count, time.monotonic() - began


def explored(explorer: Explorer, events: EventLog, seconds: float) -> tuple[int, float]:
    """Run turns of the explorer; return the number of examples and the seconds that they took."""
    count, began = 0, time.monotonic()
    while time.monotonic() < began + seconds:
        turn = explorer.turn(began + seconds)
        events.say("turn", turn.said())
        count += turn.examples
    return count, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--isolate", action="store_true")
    parser.add_argument("--target", default="triton")
    parser.add_argument("--regime", default="any")
    options = parser.parse_args()
    one_thread()
    target = load_target(options.target)
    regime = REGIMES[target.level][options.regime]
    strategy = regime(target)
    print(f"{describe()}: {versions()}")  # noqa: T201
    totals = [[0.0, 0.0], [0.0, 0.0]]
    with isolated() if options.isolate else nullcontext(), tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        explorer = Explorer([target], {target.level: {options.regime: regime}}, run)
        events = EventLog(run.path, "0")
        plain(strategy, target, options.seconds / 2)  # compiles, and fills caches
        for number in range(options.rounds):
            rates = []
            for which, total in enumerate(totals):
                if which:
                    with written_ahead(run.path / "running", lambda: under_way(explorer, "0")):
                        count, took = explored(explorer, events, options.seconds)
                else:
                    with written_ahead():
                        count, took = plain(strategy, target, options.seconds)
                total[0] += count
                total[1] += took
                rates.append(count / took)
            print(f"round {number}: plain {rates[0]:.1f} a second, explorer {rates[1]:.1f}", flush=True)  # noqa: T201
    plain_rate, explorer_rate = (count / took for count, took in totals)
    print(f"in all: plain {plain_rate:.1f}, explorer {explorer_rate:.1f}: {explorer_rate / plain_rate:.1%}")  # noqa: T201


if __name__ == "__main__":
    main()
