"""The state of a long run, computed from its events one at a time; the screen and the page show it."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from moefuzz.harness.base.text import ending, printable

from .events import Event, RunInfo, events_of, info_of, running_in
from .failures import Failures
from .records import (
    BadEvent,
    DiedEvent,
    EndedEvent,
    FoundEvent,
    LabelCounts,
    OutEvent,
    Record,
    ReducedEvent,
    ResourcesEvent,
    ResumedEvent,
    StartedEvent,
    TurnEvent,
    WithdrawnEvent,
    record_of,
)
from .regime_state import Regime
from .time_series import Series
from .worker_state import Death, Worker

SUPERVISOR = "supervisor"
SLOWEST = 10


@dataclass
class RunState:
    """The state of a run. Times are seconds since its start, except for names that end in ``at``, which are unix seconds."""

    info: RunInfo = field(default_factory=RunInfo)
    began_at: float | None = None
    last_at: float | None = None
    away: float = 0.0  # seconds between its end and its resumption
    ended: str = ""  # the reason, once the run has ended
    until_at: float | None = None
    examples: int = 0
    compiles: int = 0
    regimes: dict[tuple[str, str], Regime] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    failures: Failures = field(default_factory=Failures)
    covered: dict[str, Counter[str]] = field(default_factory=dict)
    shares: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)  # by (target, tensor): the largest, and its regime
    slowest: list[tuple[float, str, str]] = field(default_factory=list)  # seconds, target, case
    examples_over_time: Series = field(default_factory=lambda: Series(operator.add))
    deaths: list[Death] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)  # lines that were no events, by file or worker

    def __post_init__(self) -> None:
        self.began_at = self.info.began if self.began_at is None else self.began_at
        for target, name in self.info.regimes:
            self.regimes[target, name] = Regime(target, name)

    def add(self, event: Event) -> None:
        """Count an event; a broken one is counted as skipped, and one of an unknown kind is ignored."""
        try:
            record = record_of(event)
        except BadEvent:
            self.skipped[printable(event["worker"])] += 1
            return
        if record is not None:
            self._pass_time(record)
            self._count(record)

    def since(self, at: float) -> float:
        """Return the seconds since the start, without those between an end and a resumption."""
        return max(at - (self.began_at or 0.0) - self.away, 0.0)

    @property
    def elapsed(self) -> float:
        return 0.0 if self.last_at is None else self.since(self.last_at)

    def left(self, now: float) -> float | None:
        """Return the seconds until the time is up; None if that is unknown."""
        if self.ended:
            return 0.0
        return None if self.until_at is None else max(self.until_at - now, 0.0)

    def rate_now(self, now: float) -> float:
        """Return examples per second, as the sum over running workers of the rate of their last turns."""
        turns = [worker.last_turn for worker in self.workers.values() if worker.state == "running" and worker.works(now)]
        return sum(turn.examples / turn.seconds for turn in turns if turn is not None and turn.seconds)

    def starving(self, after_seconds: float) -> list[Regime]:
        """Return the regimes without any example, once the run is at least ``after_seconds`` old; before that none."""
        return [regime for regime in self.regimes.values() if not regime.examples] if self.elapsed >= after_seconds else []

    def _pass_time(self, record: Record) -> None:
        self.began_at = record.at if self.began_at is None else self.began_at
        if isinstance(record, ResumedEvent) and self.last_at is not None:
            self.away += max(record.at - self.last_at, 0.0)
        if not isinstance(record, (EndedEvent, DiedEvent, OutEvent)):
            self.ended = ""  # another host, or the run resumed
        self.last_at = max(record.at, self.last_at or 0.0)

    def _count(self, record: Record) -> None:
        worker = None if record.worker == SUPERVISOR else self._worker(record.worker)
        if worker is not None:
            worker.last_at = max(record.at, worker.last_at)
        match record:
            case WithdrawnEvent():
                self.failures.withdrawn(record.report)
            case DiedEvent():
                self._died(record)
            case OutEvent():
                out = self._worker(record.of)
                out.state, out.why, out.gpu = "out", record.why, record.gpu or out.gpu
            case EndedEvent() if worker is None:
                self.ended = record.why or "ended"
            case _ if worker is not None:
                self._count_of(worker, record)

    def _count_of(self, worker: Worker, record: Record) -> None:
        """Count an event that a worker logged about itself."""
        match record:
            case StartedEvent():
                worker.started(record)
                self.until_at = max(record.at + record.seconds, self.until_at or 0.0)
            case TurnEvent():
                worker.does("running")
                self._turn(record, worker)
            case FoundEvent():
                worker.does("reducing")
                self.failures.found(record, self.since(record.at))
            case ReducedEvent():
                worker.does("running")
                self.failures.reduced(record, self.since(record.at))
            case ResourcesEvent():
                worker.takes(record, self.since(record.at))
            case EndedEvent():
                worker.state, worker.why = "ended", record.why

    def _died(self, record: DiedEvent) -> None:
        worker = self._worker(record.of)
        worker.state, worker.restarts = "restarting", max(worker.restarts, record.restarts)
        self.deaths.append(Death(self.since(record.at), record.of, ending(record.status)))

    def _turn(self, turn: TurnEvent, worker: Worker) -> None:
        worker.examples += turn.examples
        worker.last_turn = turn
        self.examples += turn.examples
        self.compiles += turn.compiles
        self.examples_over_time.add(self.since(turn.at), turn.examples)
        key = (turn.target, turn.regime)
        self.regimes.setdefault(key, Regime(*key)).add(turn)
        for tensor, share in turn.shares.items():
            self.shares[turn.target, tensor] = max((share, turn.regime), self.shares.get((turn.target, tensor), (-1.0, "")))
        _add_covered(self.covered, turn.covered)
        if turn.slowest:
            cases = {*self.slowest, *((seconds, turn.target, case) for seconds, case in turn.slowest)}
            self.slowest = sorted(cases, reverse=True)[:SLOWEST]

    def _worker(self, name: str) -> Worker:
        return self.workers.setdefault(printable(name), Worker(printable(name)))


def read_state(run: Path) -> RunState:
    """Return the state of a run from all its events, and from the unfinished turns of killed workers. Raises BadRun."""
    state = RunState(info_of(run))
    for event in events_of(run, state.skipped):
        state.add(event)
    for turn in cut_off(state, running_in(run)):
        state.add(turn)
    return state


def cut_off(state: RunState, running: dict[str, Event]) -> Iterable[Event]:
    """Yield the unfinished turns that no event counts yet."""
    for name, said in running.items():
        worker = state.workers.get(printable(name))
        if worker is None or worker.last_turn is None or said["turn"]["at"] > worker.last_turn.at:
            yield said["turn"]


def _add_covered(total: dict[str, Counter[str]], covered: LabelCounts) -> None:
    for name, labels in covered.items():
        total.setdefault(name, Counter()).update(labels)
