"""The state of a worker of a long run, computed from its events."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

from .records import ResourcesEvent, StartedEvent, TurnEvent
from .time_series import Series

SILENT_SECONDS = 600.0  # without an event, after which a worker counts as ended

MemorySeries = functools.partial(Series, max)


@dataclass
class Worker:
    """A worker, with one name however often its process was restarted."""

    name: str
    state: str = "running"  # or reducing, restarting, ended, out
    host: str = ""
    gpu: str | None = None
    device: str = ""
    pid: int = 0
    examples: int = 0
    restarts: int = 0
    last_at: float = 0.0  # time of its last event
    last_turn: TurnEvent | None = None
    why: str = ""  # the reason why it ended or was retired
    rss: Series = field(default_factory=MemorySeries)
    device_used: Series = field(default_factory=MemorySeries)
    rss_now: int = 0
    device_now: int | None = None

    def started(self, record: StartedEvent) -> None:
        self.state, self.host, self.pid, self.why = "running", record.host, record.pid, ""
        self.gpu, self.device = record.gpu, record.device

    def takes(self, record: ResourcesEvent, since: float) -> None:
        """Record its memory at ``since`` seconds after the run's start."""
        self.rss_now, self.device_now = record.rss, record.device_used
        self.rss.add(since, record.rss)
        if record.device_used is not None:
            self.device_used.add(since, record.device_used)

    def does(self, what: str) -> None:
        """Set the state of a worker that runs. One that ended stays so until it is started: clocks of two hosts can differ."""
        self.state = what if self.state in ("running", "reducing") else self.state

    def works(self, now: float) -> bool:
        """Return whether it runs, judged by its last event."""
        patience = SILENT_SECONDS + (self.last_turn.seconds if self.last_turn else 0.0)
        return self.state in ("running", "reducing") and now - self.last_at < patience


@dataclass(frozen=True)
class Death:
    """The unexpected end of a worker's process, ``since`` seconds after the run's start."""

    since: float
    worker: str
    how: str
