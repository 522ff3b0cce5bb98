"""A worker of a long run as its events show it."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

from .records import ResourcesEvent, StartedEvent, TurnEvent
from .time_series import Series

SILENT_SECONDS = 600.0  # after which a worker is not believed to run any more

MemorySeries = functools.partial(Series, max)


@dataclass
class Worker:
    """A process that fuzzes, under one name however often it was started again."""

    name: str
    state: str = "running"  # or reducing, restarting, ended, out
    host: str = ""
    gpu: str | None = None
    device: str = ""
    pid: int = 0
    examples: int = 0
    restarts: int = 0
    last_at: float = 0.0  # of a sign of life
    last_turn: TurnEvent | None = None
    why: str = ""  # it ended, or was taken out
    rss: Series = field(default_factory=MemorySeries)
    device_used: Series = field(default_factory=MemorySeries)
    rss_now: int = 0
    device_now: int | None = None

    def started(self, record: StartedEvent) -> None:
        self.state, self.host, self.pid, self.why = "running", record.host, record.pid, ""
        self.gpu, self.device = record.gpu, record.device

    def takes(self, record: ResourcesEvent, since: float) -> None:
        """Note the memory that it has ``since`` the run's start."""
        self.rss_now, self.device_now = record.rss, record.device_used
        self.rss.add(since, record.rss)
        if record.device_used is not None:
            self.device_used.add(since, record.device_used)

    def does(self, what: str) -> None:
        """One that ended or died works again only when it is started: clocks of two hosts, or two files, may be apart."""
        self.state = what if self.state in ("running", "reducing") else self.state

    def works(self, now: float) -> bool:
        """Whether it runs, as far as can be told."""
        patience = SILENT_SECONDS + (self.last_turn.seconds if self.last_turn else 0.0)
        return self.state in ("running", "reducing") and now - self.last_at < patience


@dataclass(frozen=True)
class Death:
    """A worker whose process ended, ``since`` the run's start."""

    since: float
    worker: str
    how: str
