"""A fuzz run in one process: cases of an interrupted run first, then reduce a failure if one waits, else explore for one turn."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from hypothesis.database import ExampleDatabase

from moefuzz.harness.base import compile_counter
from moefuzz.harness.base.hypothesis_profiles import let_shrinking_end
from moefuzz.harness.reduction.explain import is_explained
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.check import failure_of
from moefuzz.harness.verdict.journal import InterruptedCase

from .explore import Explorer, Regimes
from .found import Found
from .reducing import Reduced, Reducer
from .run_folder import RunFolder
from .turn import Turn

Step = Turn | Found | Reduced


def fuzz(
    targets: Sequence[Target],
    seconds: float,
    regimes: Regimes,
    left: Iterable[InterruptedCase] = (),
    *,
    reports: Path | None = None,
    seed: str = "",
) -> Iterator[Step]:
    """Fuzz for so many seconds in this process, in a temporary folder, and yield each step; the interrupted cases ``left`` run first."""
    stop = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="moefuzz-") as folder:
        campaign = Campaign(RunFolder(Path(folder), reports), targets, regimes, seed=seed)
        yield from campaign.again(left)
        yield from campaign.steps(stop)


class Campaign:
    """Fuzzes targets and writes what it finds into the folder of ``run``, reports included.

    With ``seconds_each``, reducing and explaining one failure takes at most that long; this holds for a crash or a hang too.
    """

    def __init__(
        self,
        run: RunFolder,
        targets: Sequence[Target],
        regimes: Regimes,
        *,
        database: ExampleDatabase | None = None,
        shuffled: bool = False,
        seed: str = "",
        seconds_each: float | None = None,
    ) -> None:
        let_shrinking_end()
        compile_counter.watch()
        self.run, self.targets = run, {target.name: target for target in targets}
        self.explorer = Explorer(targets, regimes, run, database=database, shuffled=shuffled, seed=seed)
        self.reducer = Reducer(run, self.targets, self.explorer, seconds_each)

    def steps(self, stop: float, *, examples: int | None = None, apart: bool = False) -> Iterator[Step]:
        """Yield each step until ``time.monotonic()`` reaches ``stop`` or so many examples have run.

        Failures found by then are still reduced afterwards. With ``apart`` the time spent on reducing does not shorten exploring. Raises
        LostDevice if no case can run or no file can be written any more.
        """
        while True:
            with self.run.taken(self.targets) as found:
                if found is not None:
                    began = time.monotonic()
                    yield found
                    yield self.reducer.reduce(found)
                    stop += time.monotonic() - began if apart else 0.0
                    continue
            left = None if examples is None else examples - self.explorer.examples
            if time.monotonic() >= stop or not self.explorer.lines or (left is not None and left <= 0):
                return
            yield self.explorer.turn(stop, left)

    def keep_now(self) -> None:
        """Save the progress of the failure that is being reduced, and write a report of its smallest case so far."""
        self.reducer.keep_now()

    def waiting(self) -> list[Found]:
        """Return the failures that are not reduced yet."""
        return [one for one in self.run.found() if not one.outcome and one.target in self.targets]

    def unfinished(self) -> Iterator[Reduced]:
        """Write a report of the smallest case so far for each failure that an interrupt left unreduced; yield them.

        No target is called.
        """
        return map(self.reducer.unfinished, self.waiting())

    def again(self, left: Iterable[InterruptedCase]) -> Iterator[Turn]:
        """Run the cases again during which an earlier process ended; yield a turn for each."""
        for one in left:
            target = self.targets[one.target]
            if target.level == one.case.level and target.takes(one.case):  # the declaration may have changed since
                turn, began = Turn(target.name, target.level, "left over", examples=1), time.monotonic()
                failure = failure_of(one.case, target)
                turn.seconds = time.monotonic() - began
                if failure is not None:
                    turn.failing = 1
                    turn.passed_by = int(is_explained(one.case, target, self.run.regions(failure.bucket)))
                    if not turn.passed_by:
                        self.explorer.offer(failure, turn)
                yield turn
            one.done()
