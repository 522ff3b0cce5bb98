"""A fuzz run in one process: what was left over, then failures to be reduced as long as there are any, else a turn of exploring."""

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
    """A campaign of this process alone, in a folder that is thrown away: what was ``left`` over, then until the time is up."""
    stop = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="moefuzz-") as folder:
        campaign = Campaign(RunFolder(Path(folder), reports), targets, regimes, seed=seed)
        yield from campaign.again(left)
        yield from campaign.steps(stop)


class Campaign:
    """Fuzzes targets into a run's folder; reports go to ``reports``.

    A failure is reduced and explained for ``seconds_each`` at most, if that is given, a crash and a hang included.
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
        """What is done, until ``time.monotonic()`` is ``stop``, or so many examples have run.

        What is found by then is reduced beyond it. Exploring loses no time by reducing where both are counted ``apart``. Raises LostDevice
        where nothing can run or be kept any more.
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
        """Write down how far the failure is reduced that was being reduced, with a report of its smallest case by now."""
        self.reducer.keep_now()

    def waiting(self) -> list[Found]:
        """The failures that are not reduced yet."""
        return [one for one in self.run.found() if not one.outcome and one.target in self.targets]

    def unfinished(self) -> Iterator[Reduced]:
        """The failures that an interrupt left before they were reduced to the end, each with a report of its smallest case by now.

        Nothing of a target runs for it.
        """
        return map(self.reducer.unfinished, self.waiting())

    def again(self, left: Iterable[InterruptedCase]) -> Iterator[Turn]:
        """Run cases again that an earlier process did not survive."""
        for one in left:
            target = self.targets[one.target]
            if target.level == one.case.level and target.takes(one.case):  # which it may have done no more since
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
