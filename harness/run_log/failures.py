"""The failures of a long run: when each was found, and its outcome."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from moefuzz.harness.failures.kinds import titled

from .records import Bucket, FoundEvent, ReducedEvent


@dataclass(frozen=True)
class Pending:
    """A failure that was found and is not reduced yet."""

    worker: str
    bucket: Bucket
    regime: str
    case: str
    finding: str
    found: float  # seconds since the run's start
    key: str = ""

    @property
    def name(self) -> str:
        return name_of(self.bucket)


@dataclass
class Reported:
    """A distinct failure. Times are seconds since the run's start."""

    report: str | None  # the name of its folder; None if it could not be written
    bucket: Bucket
    failure: str  # its title, as "WrongValue of Y"
    case: str  # the smallest case
    finding: str
    needs: tuple[str, ...]
    regime: str
    found: float
    reported: float
    reducing: float  # seconds
    again: int = 0  # how often it was found again and recognised as the same

    @property
    def target(self) -> str:
        return self.bucket[0]


@dataclass
class Failures:
    """All failures of a run. Several workers may find the same one at the same time, and one bug may mask another in its bucket."""

    reported: list[Reported] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    gone: list[ReducedEvent] = field(default_factory=list)  # failures that did not occur again
    outcomes: Counter[str] = field(default_factory=Counter)

    def found(self, found: FoundEvent, since: float) -> None:
        before = next((pending for pending in self.pending if found.key and pending.key == found.key), None)
        if before is not None:  # found by a worker that ended before it reduced it
            self.pending.remove(before)
            since = before.found
        self.pending.append(Pending(found.worker, found.bucket, found.regime, found.case, found.finding, since, found.key))

    def reduced(self, reduced: ReducedEvent, since: float) -> None:
        was = self._no_longer_pending(reduced)
        self.outcomes[reduced.outcome] += 1
        if reduced.outcome == "gone":
            self.gone.append(reduced)
        if reduced.outcome not in ("report", "same"):
            return
        if (known := self._known(reduced)) is not None:
            known.again += 1
        elif reduced.outcome == "report":
            found, regime = (was.found, was.regime) if was is not None else (max(since - reduced.seconds, 0.0), "")
            self.reported.append(
                Reported(
                    reduced.report, reduced.bucket, reduced.failure or name_of(reduced.bucket), reduced.case, reduced.finding,
                    reduced.needs, regime, found, since, reduced.seconds,
                )
            )  # fmt: skip

    def withdrawn(self, report: str) -> None:
        self.reported = [one for one in self.reported if one.report != report]

    @property
    def waiting(self) -> list[Pending]:
        """The first failure of each bucket that is not reduced yet."""
        return list({pending.bucket: pending for pending in reversed(self.pending)}.values())[::-1]

    def by_kind(self) -> Counter[str]:
        """Return the number of distinct failures of each kind and tensor."""
        return Counter(reported.failure for reported in self.reported)

    def over_time(self) -> list[float]:
        """Return the times at which each distinct failure was first found, including those not reduced yet."""
        return sorted([reported.found for reported in self.reported] + [pending.found for pending in self.waiting])

    def _no_longer_pending(self, reduced: ReducedEvent) -> Pending | None:
        same = [one for one in self.pending if one.bucket == reduced.bucket and reduced.key in ("", one.key)]
        was = next((pending for pending in same if pending.worker == reduced.worker), same[0] if same else None)
        if was is not None:
            self.pending.remove(was)
        return was

    def _known(self, reduced: ReducedEvent) -> Reported | None:
        """Return the reported failure that this one equals, or None: with the same folder, or without one with the same bucket and case."""
        same = [one for one in self.reported if one.bucket == reduced.bucket]
        if reduced.report is not None:
            return next((one for one in self.reported if one.report == reduced.report), None)
        if reduced.outcome == "same":
            return same[-1] if same else None
        return next((one for one in same if one.case == reduced.case), None)


def name_of(bucket: Bucket) -> str:
    """Return the title of the failures of a bucket.

    >>> name_of(("triton", "WrongValue", "dW", "backward")), name_of(("triton", "Crash", None, None))
    ('WrongValue of dW', 'Crash')
    """
    return titled(bucket[1], bucket[2])
