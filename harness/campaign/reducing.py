"""Reduce a failure: it becomes a report of its smallest case, or a duplicate of another, or it does not fail again."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from moefuzz.harness.failures import Failure, Unreproducible
from moefuzz.harness.reduction.explain import Explanation, Region, explain, is_explained
from moefuzz.harness.reduction.reduce import SECONDS, hurrying, reduced
from moefuzz.harness.report.write import write
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.check import failure_of
from moefuzz.harness.verdict.judge import called

from .explore import Explorer
from .found import Found
from .run_folder import EXPLAIN, MOST_TRIES, RunFolder

_KEEP_SECONDS = 1.0


@dataclass(frozen=True)
class Reduced:
    """The outcome for one failure: a report of its smallest case, "gone", or the "same" as one that has a report already."""

    found: Found
    failure: Failure | None
    explanation: Explanation = field(default_factory=Explanation)
    seconds: float = 0.0
    said: str = ""  # why its report could not be written, or why it has none
    withdrawn: tuple[str, ...] = ()  # reports that this one explains
    finished: bool = True  # False if the run ended first

    def where(self, reports: Path) -> str:
        """Return the line of output that tells where its report is."""
        return f"    report    {reports / self.found.report / 'report.md' if self.found.report else f'could not be written: {self.said}'}"


class Reducer:
    """Reduces the failures of a run's folder one at a time, and can save its progress at any time.

    With ``seconds_each``, reducing and explaining one failure takes at most that long; this holds for a crash or a hang too.
    """

    def __init__(self, run: RunFolder, targets: Mapping[str, Target], explorer: Explorer, seconds_each: float | None) -> None:
        self.run, self.targets, self.explorer = run, targets, explorer
        self._reduces = SECONDS if seconds_each is None else seconds_each * 2 / 3
        self._explains = 60.0 if seconds_each is None else seconds_each / 3
        self._now: Found | None = None
        self._smallest: Failure | None = None  # of the failure that is being reduced

    def reduce(self, found: Found) -> Reduced:
        """Reduce a failure, save the outcome and return it. Raises LostDevice if it cannot be saved."""
        began = time.monotonic()
        self._now, self._smallest = found, None
        done = self._reduced(found, self.targets[found.target])
        self.run.keep(found, surely=True)
        return dataclasses.replace(done, seconds=time.monotonic() - began)

    def keep_now(self) -> None:
        """Save the progress of the failure that is being reduced, and write a report of its smallest case so far."""
        found = self._now
        if found is not None and not found.outcome:
            self._report(found, self._smallest or found.failure, Explanation(), unrun=True)

    def unfinished(self, one: Found) -> Reduced:
        """Report a failure that is not fully reduced, with its smallest case so far. The target is not called."""
        is_now = self._now is not None and self._now.key == one.key
        found, smallest = (self._now, self._smallest) if is_now and self._now is not None else (one, None)
        failure = smallest or found.failure
        said = self._report(found, failure, Explanation(), unrun=True)
        return Reduced(found, failure, said=said, finished=False)

    def _reduced(self, found: Found, target: Target) -> Reduced:
        if self._is_of_second_call(found, target):
            return Reduced(found, None, said="the second call of its relation fails by itself")
        regions, unrun = self.run.regions(found.bucket), found.tries > MOST_TRIES
        failure = found.failure if unrun else self._smallest_of(found, target, regions)
        if failure is None:
            return Reduced(found, None, said=self._came_to_nothing(found, target))
        self._smallest = failure
        explanation = Explanation() if unrun or failure.bucket != found.bucket else self._explained(failure, target, regions)
        if (same := self._same(failure, explanation)) is not None:
            self._forget(found.report)
            found.outcome, found.report = "same", same.report
            return Reduced(found, failure, explanation, said=f"the same bug as {same.report}")
        found.region = explanation.region
        said = self._report(found, failure, explanation, unrun=unrun)
        return Reduced(found, failure, explanation, said=said, withdrawn=self._supersede(found))

    def _smallest_of(self, found: Found, target: Target, regions: Sequence[Region]) -> Failure | None:
        """Return the failure on its smallest case, or None if it did not fail again. Progress is saved once a second."""
        kept = time.monotonic()

        def keep(failure: Failure, choices: bytes) -> None:
            nonlocal kept
            self._smallest = failure
            found.case, found.finding, found.choices, found.tries = failure.case, failure.finding, choices, 0
            if time.monotonic() > kept + _KEEP_SECONDS:
                kept = time.monotonic()
                self.run.keep(found)

        line = self.explorer.line(found.target, found.regime)
        return reduced(
            found.failure, target, strategy=line.strategy if line else None, choices=found.choices, exclude=regions,
            seconds=self._reduces, keep=keep,
        )  # fmt: skip

    def _explained(self, failure: Failure, target: Target, regions: Sequence[Region]) -> Explanation:
        fails = functools.partial(failure_of, target=target)
        with hurrying(failure, target):
            return explain(failure, fails, target, seconds=self._explains, exclude=regions)

    def _came_to_nothing(self, found: Found, target: Target) -> str:
        """Note that a failure has no smallest case of its own; return why."""
        explaining = [one for one in self.run.of_bucket(found.bucket) if one.outcome in EXPLAIN]
        same = next((one for one in explaining if is_explained(found.case, target, [one.region])), None)
        found.outcome = "gone" if same is None else "same"
        self._forget(found.report)
        found.report = same.report if same else None
        return f"explained by {same.report}" if same else "it did not fail again, but as a known issue says"

    def _is_of_second_call(self, found: Found, target: Target) -> bool:
        """Return whether the second call of a relation fails on its own; if so, that failure is offered instead of the relation's."""
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
        """Withdraw the reports of irreproducible failures that this finding explains; return their names."""
        withdrawn = []
        for one in self.run.of_bucket(found.bucket):
            if one.outcome == "once" and found.outcome == "report" and is_explained(one.case, self.targets[found.target], [found.region]):
                self._forget(one.report)
                withdrawn.append(str(one.report))
                one.outcome, one.report = "same", found.report
                self.run.keep(one)
        return tuple(withdrawn)

    def _same(self, failure: Failure, explanation: Explanation) -> Found | None:
        """Return the reported finding with the same cause, or None. The cause is the same if one region explains both; it then widens.

        An irreproducible failure is the same as another one of its bucket, and as any finding whose region holds its case.
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
            joined = one.region.merge(explanation.region)
            if joined.needs and joined.is_exact:
                one.region = joined
                self.run.keep(one)
                return one
        return None

    def _forget(self, unfinished: str | None) -> None:
        """Remove a report that was written when the reduction was interrupted."""
        if unfinished:
            shutil.rmtree(self.run.reports / unfinished, ignore_errors=True)

    def _report(self, found: Found, failure: Failure, explanation: Explanation, *, unrun: bool) -> str:
        """Write the report; return why it could not be written, or "". A failure that an interrupt left stays queued for reduction."""
        found.became, unfinished, said = failure.bucket, found.report, ""
        for plain in (unrun, True):
            try:
                found.report = write(failure, self.targets[found.target], self.run.reports, explanation, unrun=plain).name
                self._forget(unfinished if unfinished != found.report else None)
                break
            except Exception as error:  # an error in writing the report must not lose the finding
                said = f"{type(error).__name__}: {error}"
        if unrun and found.tries <= MOST_TRIES:
            self.run.keep(found)
        else:
            found.outcome = "once" if isinstance(failure, Unreproducible) else "report"
        return said
