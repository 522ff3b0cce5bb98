"""A fuzz run in one process: what was left over, then failures to be reduced as long as there are any, else a turn of exploring."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypothesis.database import ExampleDatabase

from moefuzz.harness.base import compile_counter
from moefuzz.harness.base.hypothesis_profiles import let_shrinking_end
from moefuzz.harness.failures import Failure, Unreproducible
from moefuzz.harness.reduction.explain import Explanation, explain, is_explained
from moefuzz.harness.reduction.reduce import SECONDS, hurrying, reduced
from moefuzz.harness.report.write import write
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.check import failure_of
from moefuzz.harness.verdict.journal import LeftOver
from moefuzz.harness.verdict.judge import called

from .explore import Explorer, Regimes, Turn
from .run_folder import EXPLAIN, MOST_TRIES, Found, RunFolder

_KEEP_SECONDS = 1.0


@dataclass(frozen=True)
class Reduced:
    """What came of a failure: its smallest case with a report, ``gone``, or the ``same`` as one that has a report already."""

    found: Found
    failure: Failure | None
    explanation: Explanation
    seconds: float
    said: str = ""  # why its report could not be written, or why nothing came of it
    withdrawn: tuple[str, ...] = ()  # reports that this one explains
    finished: bool = True  # False where the run ended before

    def where(self, reports: Path) -> str:
        """Where its report lies, as a line below the failure says it."""
        return f"    report    {reports / self.found.report / 'report.md' if self.found.report else f'could not be written: {self.said}'}"


Step = Turn | Found | Reduced


def fuzz(
    targets: Sequence[Target],
    seconds: float,
    regimes: Regimes,
    left: Iterable[LeftOver] = (),
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
        self._reduces = SECONDS if seconds_each is None else seconds_each * 2 / 3
        self._explains = 60.0 if seconds_each is None else seconds_each / 3
        self._now: Found | None = None
        self._smallest: Failure | None = None  # of the failure that is reduced now

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
                    yield self._reduced(found)
                    stop += time.monotonic() - began if apart else 0.0
                    continue
            left = None if examples is None else examples - self.explorer.examples
            if time.monotonic() >= stop or not self.explorer.lines or (left is not None and left <= 0):
                return
            yield self.explorer.turn(stop, left)

    def keep_now(self) -> None:
        """Write down how far the failure is reduced that was being reduced, with a report of its smallest case by now."""
        found = self._now
        if found is not None and not found.outcome:
            self._report(found, self._smallest or found.failure, Explanation(), unrun=True)

    def waiting(self) -> list[Found]:
        """The failures that are not reduced yet."""
        return [one for one in self.run.found() if not one.outcome and one.target in self.targets]

    def unfinished(self) -> Iterator[Reduced]:
        """The failures that an interrupt left before they were reduced to the end, each with a report of its smallest case by now.

        Nothing of a target runs for it.
        """
        for one in self.waiting():
            is_now = self._now is not None and self._now.key == one.key
            found, smallest = (self._now, self._smallest) if is_now and self._now is not None else (one, None)
            failure = smallest or found.failure
            said = self._report(found, failure, Explanation(), unrun=True)
            yield Reduced(found, failure, Explanation(), 0.0, said, finished=False)

    def again(self, left: Iterable[LeftOver]) -> Iterator[Turn]:
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

    def _reduced(self, found: Found) -> Reduced:
        began, target = time.monotonic(), self.targets[found.target]
        kept = began
        self._now, self._smallest = found, None

        def keep(failure: Failure, choices: bytes) -> None:
            nonlocal kept
            self._smallest = failure
            found.case, found.finding, found.choices, found.tries = failure.case, failure.finding, choices, 0
            if time.monotonic() > kept + _KEEP_SECONDS:
                kept = time.monotonic()
                self.run.keep(found)

        if self._is_of_second_call(found, target):
            self.run.keep(found, surely=True)
            return Reduced(found, None, Explanation(), time.monotonic() - began, "the second call of its relation fails by itself")
        line = self.explorer.line(found.target, found.regime)
        regions = self.run.regions(found.bucket)
        explanation, unrun = Explanation(), found.tries > MOST_TRIES
        failure = found.failure if unrun else reduced(
            found.failure, target, strategy=line.strategy if line else None, choices=found.choices, apart_from=regions,
            seconds=self._reduces, keep=keep,
        )  # fmt: skip
        said, withdrawn = "", tuple[str, ...]()
        if failure is None:
            explaining = [one for one in self.run.of_bucket(found.bucket) if one.outcome in EXPLAIN]
            same = next((one for one in explaining if is_explained(found.case, target, [one.region])), None)
            found.outcome = "gone" if same is None else "same"
            self._forget(found.report)
            found.report = same.report if same else None
            said = f"explained by {same.report}" if same else "it did not fail again, but as a known issue says"
        else:
            self._smallest = failure
            if failure.bucket == found.bucket and not unrun:
                fails = functools.partial(failure_of, target=target)
                with hurrying(failure, target):
                    explanation = explain(failure, fails, target, seconds=self._explains, apart_from=regions)
            if (same := self._same(failure, explanation)) is not None:
                self._forget(found.report)
                found.outcome, found.report, said = "same", same.report, f"the same bug as {same.report}"
            else:
                found.region = explanation.region
                said = self._report(found, failure, explanation, unrun=unrun)
                withdrawn = self._supersede(found)
        self.run.keep(found, surely=True)
        return Reduced(found, failure, explanation, time.monotonic() - began, said, withdrawn)

    def _is_of_second_call(self, found: Found, target: Target) -> bool:
        """Whether the second call of a relation fails by itself: then it is that failure, and the relation is no matter."""
        if not found.case.relation:
            return False
        for case in called(found.case, target)[1:]:
            failure = failure_of(dataclasses.replace(case, relation=""), target)
            if failure is not None:
                if not is_explained(failure.case, target, self.run.regions(failure.bucket)):
                    self.run.offer(failure, found.target, found.regime)
                found.outcome = "same"
                return True
        return False

    def _supersede(self, found: Found) -> tuple[str, ...]:
        """Withdraw the reports of what did not come back then, and is explained now; they are named."""
        withdrawn = []
        for one in self.run.of_bucket(found.bucket):
            if one.outcome == "once" and found.outcome == "report" and is_explained(one.case, self.targets[found.target], [found.region]):
                self._forget(one.report)
                withdrawn.append(str(one.report))
                one.outcome, one.report = "same", found.report
                self.run.keep(one)
        return tuple(withdrawn)

    def _same(self, failure: Failure, explanation: Explanation) -> Found | None:
        """What is reported already and has the same cause: one region explains both, or neither comes back. Widens its region.

        What does not come back is no news where the target is known to be wrong.
        """
        once, target = isinstance(failure, Unreproducible), self.targets[failure.target]
        for one in self.run.found():
            if one.target != failure.target or one.report is None:
                continue
            if once:
                if one.became == failure.bucket or (one.outcome in EXPLAIN and is_explained(failure.case, target, [one.region])):
                    return one
                continue
            if one.outcome == "same" or one.became != failure.bucket:
                continue
            joined = one.region.joined(explanation.region)
            if joined.needs and joined.is_exact:
                one.region = joined
                self.run.keep(one)
                return one
        return None

    def _forget(self, unfinished: str | None) -> None:
        """Remove a report that was written when reducing was interrupted."""
        if unfinished:
            shutil.rmtree(self.run.reports / unfinished, ignore_errors=True)

    def _report(self, found: Found, failure: Failure, explanation: Explanation, *, unrun: bool) -> str:
        """Write the report; why it could not be written. What an interrupt left unfinished stays to be reduced."""
        found.became, unfinished, said = failure.bucket, found.report, ""
        for plain in (unrun, True):
            try:
                found.report = write(failure, self.targets[found.target], self.run.reports, explanation, unrun=plain).name
                self._forget(unfinished if unfinished != found.report else None)
                break
            except Exception as error:  # whatever a report fails at, what was found is not lost
                said = f"{type(error).__name__}: {error}"
        if unrun and found.tries <= MOST_TRIES:
            self.run.keep(found)
        else:
            found.outcome = "once" if isinstance(failure, Unreproducible) else "report"
        return said
