"""The order of the accesses of one launch. Events are accesses, numbered as the interpreter makes them, one program after the other.

Only atomics order two programs: accesses before an atomic that releases are ordered before those after an atomic on the same element that
acquires, and so on from program to program (vector clocks). For each granule the last store, and the last load and atomic of two programs,
are kept: where no atomics order programs, a conflict with any earlier event shows as a conflict with one of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from moefuzz.kernels.triton_interpreter.accesses import Access, Line, Program

from .regions import MemoryRegion

KEPT_LOADS = 1 << 22  # granules of loads that wait for a first store


@dataclass(frozen=True)
class AccessEvent:
    """One access."""

    line: Line
    program: Program
    what: str  # "load", "store" or "atomic"


Conflict = tuple[np.ndarray, np.ndarray]
"""Granules and, for each, the conflicting earlier event of another program."""


@dataclass(eq=False)
class Order:
    """The events of a launch so far."""

    events: list[AccessEvent] = field(default_factory=list)
    _since: int = 1  # the first event of the program that runs
    _starts: list[int] = field(default_factory=list)  # of each program
    _clock: np.ndarray | None = None  # the last event of each program that is ordered before now; None if there is none of another
    _released: list[np.ndarray] = field(default_factory=list)  # clocks

    def event(self, access: Access, line: Line) -> int:
        """Add an event, and return its number."""
        if not self.events or self.events[-1].program != access.program:
            self._since, self._clock = len(self.events) + 1, None
            self._starts.append(self._since)
        self.events.append(AccessEvent(line, access.program, access.kind))
        return len(self.events)

    def conflicts(self, region: MemoryRegion, at: np.ndarray, access: Access) -> Iterator[Conflict]:
        """Enter the newest event; yield the conflicts with earlier ones, those of each sort together."""
        if not access.writes and not access.atomic and not region.events:
            self._put_off(region, at)
            return
        if region.loads:
            self._enter_loads(region)
        if access.acquires:
            self._acquire(region, at)
        for name in _conflicting(access):
            if name in region.events:
                yield from self._unordered(region.events[name][at], at)
        if access.writes and not access.atomic:
            self._enter_store(region, at)
        elif access.writes or not access.atomic:  # an atomic that only loads conflicts only with stores
            self._enter(region, "atomic" if access.atomic else "load", at, len(self.events), self._since)
        if access.releases:
            self._release(region, at)

    def _put_off(self, region: MemoryRegion, at: np.ndarray) -> None:
        """Keep a load until the first store of its region; before that it conflicts with nothing."""
        region.loads.append((len(self.events), self._since, at))
        region.waiting += at.size
        if region.waiting > KEPT_LOADS:
            self._enter_loads(region)

    def _enter_store(self, region: MemoryRegion, at: np.ndarray) -> None:
        for name in region.events:
            if name != "release":
                region.events[name][at] = 0  # an access that conflicts with them conflicts with this store too
        region.of("store")[at] = len(self.events)

    def _enter_loads(self, region: MemoryRegion) -> None:
        for event, since, at in region.loads:
            self._enter(region, "load", at, event, since)
        region.loads, region.waiting = [], 0

    @staticmethod
    def _enter(region: MemoryRegion, name: str, at: np.ndarray, event: int, since: int) -> None:
        last = region.of(name)
        previous = last[at]
        of_others = (previous < since) & (previous > 0)
        if of_others.any():
            region.of(f"{name} before")[at[of_others]] = previous[of_others]
        last[at] = event

    def _unordered(self, events: np.ndarray, at: np.ndarray) -> Iterator[Conflict]:
        unordered = (events < self._since) & (events > 0)
        if unordered.any():
            if self._clock is not None:
                program = np.searchsorted(np.array(self._starts), events, "right") - 1
                unordered &= events > self._clock[np.maximum(program, 0)]
            yield at[unordered], events[unordered]

    def _acquire(self, region: MemoryRegion, at: np.ndarray) -> None:
        if "release" in region.events:
            for released in np.unique(region.events["release"][at]):
                if released:
                    self._join(self._released[released - 1])

    def _join(self, other: np.ndarray) -> None:
        clock = np.zeros(len(self._starts), np.int64) if self._clock is None else self._clock
        clock[: other.size] = np.maximum(clock[: other.size], other)
        self._clock = clock

    def _release(self, region: MemoryRegion, at: np.ndarray) -> None:
        clock = np.zeros(len(self._starts), np.int64) if self._clock is None else self._clock.copy()
        releases = region.of("release")
        for released in np.unique(releases[at]):  # a later atomic on the element carries on what an earlier one released
            if released:
                other = self._released[released - 1]
                clock[: other.size] = np.maximum(clock[: other.size], other)
        clock[-1] = len(self.events)
        self._released.append(clock)
        releases[at] = len(self._released)


def _conflicting(access: Access) -> list[str]:
    """Return the sorts of earlier events that conflict with an access."""
    against = ["store"]
    if not access.atomic:
        against += ["atomic", "atomic before"]
    if access.writes:
        against += ["load", "load before"]
    return against
