"""One launch under the sanitizer: each access is checked against the state of the memory. Some findings need a second run."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from moefuzz.kernels.triton_interpreter.accesses import Access, Line, Program, Watcher
from moefuzz.kernels.triton_interpreter.launches import Launch

from .findings import Finding, Kind, source_of
from .order import AccessEvent, Conflict, Order
from .regions import MemoryRegion, View, regions

_OF = {"load": "load of", "store": "store to", "atomic": "atomic on"}


class Watched:
    """The state of a launch while it runs."""

    def __init__(self, launch: Launch, views: Iterable[View], report: Callable[[Finding], None], *, written_twice: bool) -> None:
        self.launch, self.name = launch, launch.kernel.__name__
        self.views = list(views)
        self.regions = regions(self.views)
        self._starts = [region.start for region in self.regions]
        self._hand_on, self._written_twice = report, written_twice
        self._order = Order()
        self._races: dict[tuple[Line, Line, str, str, str], Finding] = {}
        self.undefined: dict[Line, tuple[str, tuple[int, int, int]]] = {}  # loads with a dead lane and no other: what and by which program
        self._with_dead_lanes: set[Program] = set()
        self._usual: dict[Line, MemoryRegion] = {}  # the region of the last access of each line

    def _report(self, finding: Finding) -> None:
        shape = next((tuple(view.tensor.shape) for view in self.views if view.name == finding.argument), ())
        self._hand_on(replace(finding, shape=shape))

    def access(self, access: Access) -> None:
        """Check an access against the state, and enter it."""
        line = access.line
        dead = access.undefined and not access.active.all()
        inside = self.inside(access, line)
        if dead and line not in self.undefined:
            region = self._usual.get(line) or self._nearest(int(access.addresses[0]))
            self.undefined[line] = (region.views[0].name if region else "?", access.program)
        if dead:
            self._with_dead_lanes.add(access.program)
        if not inside:
            return
        self._order.event(access, line)
        for region, addresses in inside:
            if not region.has_state:
                continue
            at = region.granules(addresses, access.width)
            if access.writes:
                region.save()
            if access.reads and region.unwritten is not None:
                self._check_written(region, at, self._order.events[-1])
            if self._written_twice and access.kind == "store":
                self._check_written_once(region, at, self._order.events[-1])
            for conflict in self._order.conflicts(region, at, access):
                self._race(region, conflict)

    def inside(self, access: Access, line: Line | None = None) -> list[tuple[MemoryRegion, np.ndarray]]:
        """Return the regions of an access with its addresses there; lanes outside are cleared, and reported if a line is given."""
        addresses = access.addresses if access.active.all() else access.addresses[access.active]
        if not addresses.size:
            return []
        region = self._at(int(addresses.min()))
        if (
            region
            and int(addresses.max()) + access.width <= region.stop
            and (region.valid is None or self._valid(region, addresses, access).all())
        ):
            if line:
                self._usual[line] = region
            return [(region, addresses)]
        return self._scattered(access, line)

    def _at(self, address: int) -> MemoryRegion | None:
        n = bisect_right(self._starts, address) - 1
        return self.regions[n] if n >= 0 and address < self.regions[n].stop else None

    @staticmethod
    def _valid(region: MemoryRegion, addresses: np.ndarray, access: Access) -> np.ndarray:
        """Return a mask of the lanes, within the ends of a region, that lie in no gap."""
        granules = region.granules(addresses, access.width)  # may split the granules of the region, and so of ``valid``
        assert region.valid is not None
        inside: np.ndarray = region.valid[granules].reshape(addresses.size, -1).all(1)
        return inside

    def _scattered(self, access: Access, line: Line | None) -> list[tuple[MemoryRegion, np.ndarray]]:
        lanes = np.flatnonzero(access.active)
        addresses = access.addresses[lanes]
        which = np.searchsorted(np.array(self._starts, np.uint64), addresses, "right").astype(np.int64) - 1
        good, found = np.zeros(lanes.size, bool), []
        for n in np.unique(which[which >= 0]):
            region = self.regions[n]
            here = np.flatnonzero((which == n) & (addresses + np.uint64(access.width) <= np.uint64(region.stop)))
            if region.valid is not None and here.size:
                here = here[self._valid(region, addresses[here], access)]
            if here.size:
                good[here] = True
                found.append((region, addresses[here]))
        if not good.all():
            access.leave_out(lanes[~good])
            if line:
                self._outside(addresses[~good], access, line, found)
        if found and line:
            self._usual[line] = max(found, key=lambda item: item[1].size)[0]
        return found

    def _outside(self, addresses: np.ndarray, access: Access, line: Line, found: list[tuple[MemoryRegion, np.ndarray]]) -> None:
        """Report lanes outside all regions, for the argument of the other lanes, of the line's last access, or the nearest one."""
        region = max(found, key=lambda item: item[1].size)[0] if found else self._usual.get(line)
        address = int(addresses[0])
        views = region.views if region else self.views
        view = min(views, key=lambda view: max(view.start - address, address - view.stop), default=None)
        where = "an address, no tensor was passed" if view is None else _beside(view, address)
        event = AccessEvent(line, access.program, access.kind)
        stray = _found("OutOfBounds", self.name, _OF[access.kind], view.name if view else "", None, event)
        self._report(replace(stray, where=where, count=len(addresses)))

    def _nearest(self, address: int) -> MemoryRegion | None:
        return min(self.regions, key=lambda region: max(region.start - address, address - region.stop), default=None)

    def _check_written(self, region: MemoryRegion, at: np.ndarray, event: AccessEvent) -> None:
        assert region.unwritten is not None
        unwritten = region.unwritten[at] & ~region.is_stored(at)
        if unwritten.any():
            found = _found(
                "UninitialisedRead", self.name, f"{_OF[event.what]} what nobody wrote,", *region.element(int(at[unwritten][0])), event
            )
            self._report(replace(found, count=int(unwritten.sum())))

    def _check_written_once(self, region: MemoryRegion, at: np.ndarray, event: AccessEvent) -> None:
        before = region.of("store")[at]
        if before.any():
            earlier = self._order.events[int(before[before > 0][0]) - 1]
            found = _found("WrittenTwice", self.name, "second store to", *region.element(int(at[before > 0][0])), event, earlier)
            self._report(replace(found, count=int((before > 0).sum())))
        cells, counts = np.unique(at, return_counts=True)
        if (counts > 1).any():
            found = _found("WrittenTwice", self.name, "two lanes of one store to", *region.element(int(cells[counts > 1][0])), event)
            self._report(replace(found, count=int((counts > 1).sum())))

    def _race(self, region: MemoryRegion, conflict: Conflict) -> None:
        at, earlier_events = conflict
        now = self._order.events[-1]
        for number in np.unique(earlier_events):
            earlier = self._order.events[number - 1]
            cells = at[earlier_events == number]
            argument, element = region.element(int(cells[0]))
            key = (now.line, earlier.line, argument, now.what, earlier.what)
            known = self._races.get(key)
            if known is None:
                found = _found("Race", self.name, _OF[now.what], argument, element, now, earlier)
                self._races[key] = replace(found, count=len(cells))
            else:
                self._races[key] = replace(known, count=known.count + len(cells))

    def close(self, *, finished: bool) -> None:
        """Make the second runs that findings need, after the last program, and report these findings."""
        if self.undefined and finished:
            self._check_undefined()
        if self._races:
            changes = self._order_changes_result() if finished else None
            for race in self._races.values():
                self._report(replace(race, changes_result=changes))

    def _check_undefined(self) -> None:
        """Report loads whose masked lanes without ``other`` reach memory: their values change what is stored."""
        lines = set(self.undefined)
        programs = self._to_run_again()
        run = functools.partial(self._run_again, programs)
        first, numbers = self._stored(), run(lines)
        reached = numbers and self._difference(first, numbers)
        if not numbers or not reached or self._difference(first, run(set()) or {}):
            return  # the values do not reach memory, or two equal runs differ anyway
        each = {line: self._difference(numbers, run(lines - {line}) or {}) for line in lines} if len(lines) > 1 else {}
        guilty = [line for line in self.undefined if each.get(line)] or [*self.undefined]  # or only all of them together
        for line in guilty:
            argument, program = self.undefined[line]
            name, index = each.get(line) or reached
            found = _found(
                "UninitialisedRead", self.name, "a masked lane without other= of", argument, None, AccessEvent(line, program, "load")
            )
            self._report(replace(found, where=f"{argument} reaches {name}[{', '.join(map(str, index or ()))}]"))

    def _order_changes_result(self) -> bool | None:
        """Return whether the programs in reverse order store other bytes, rounding of atomics apart; None if that cannot be tried."""
        if any(region.stored() is not None and region.before is None for region in self.regions):
            return None
        backwards = self._run_again(self.launch.programs[::-1], set())
        return None if backwards is None else self._difference(self._stored(), backwards, atomics=False) is not None

    def _stored(self) -> dict[MemoryRegion, np.ndarray]:
        """Return the bytes of the regions that were stored to."""
        return {region: region.bytes.copy() for region in self.regions if region.before is not None}

    def _to_run_again(self) -> list[Program]:
        """Return the programs to run again for dead lanes: all, or those with dead lanes if no program can see another's stores."""
        programs = self.launch.programs
        apart = not self._races and all(region.has_state and region.is_one_way for region in self.regions)
        return [program for program in programs if program in self._with_dead_lanes] if apart else programs

    def _run_again(self, programs: list[Program], poisoned: set[Line]) -> dict[MemoryRegion, np.ndarray] | None:
        """Run some programs again, with a number in the dead lanes of some loads, and restore the memory.

        Return the stored bytes, or None if the run did not end.
        """
        first = self._stored()
        for region in first:
            region.bytes[:] = region.before
        if len(programs) < len(self.launch.programs):  # keep what the other programs stored
            chosen = set(programs)
            theirs = np.array([True, *(event.program in chosen for event in self._order.events)])
            for region, bytes_then in first.items():
                others = ~theirs[region.of("store")].repeat(region.granule)
                region.bytes[others] = bytes_then[others]
        again = _Again(self, poisoned)
        again.run(self.launch, len(self._order.events), programs)
        stored = None if again.gave_up else self._stored()
        for region in self.regions:
            if region.before is not None:
                region.bytes[:] = first.get(region, region.before)
        return stored

    @staticmethod
    def _difference(
        one: dict[MemoryRegion, np.ndarray], other: dict[MemoryRegion, np.ndarray], *, atomics: bool = True
    ) -> tuple[str, tuple[int, ...] | None] | None:
        """Return the first element in which two runs differ, None where they agree."""
        for region, stored in other.items():
            differs = region.differ(one.get(region, region.before), stored)
            if not atomics and "atomic" in region.events:
                differs &= ~((region.events["atomic"] > 0) & (region.of("store") == 0)).repeat(region.granule)
            if differs.any():
                return region.element(int(np.flatnonzero(differs)[0]) // region.granule)
        return None


def _found(
    kind: Kind,
    kernel: str,
    what: str,
    argument: str,
    element: tuple[int, ...] | None,
    event: AccessEvent,
    earlier: AccessEvent | None = None,
) -> Finding:
    line = event.line
    found = Finding(kind, kernel, what, argument, element, file=line.file, line=line.number, source=source_of(line), program=event.program)
    if earlier is None:
        return found
    other = earlier.line
    return replace(
        found, other_what=earlier.what, other_line=other.number, other_source=source_of(other), other_program=earlier.program
    )  # fmt: skip


def _beside(view: View, address: int) -> str:
    """Return, as words, where an address outside the elements of a tensor lies."""
    if view.start <= address < view.stop:
        return f"a stride gap of {view.name}, {(address - view.start) // view.itemsize} elements from its start"
    distance = (view.start - address - 1) // view.itemsize + 1 if address < view.start else (address - view.stop) // view.itemsize + 1
    return f"{distance} element{'s' * (distance > 1)} {'before' if address < view.start else 'behind'} {view.name}"


class _GaveUp(BaseException):
    """A second run makes far more accesses than the first, since it waits for a program that has not run."""


class _Again(Watcher):
    """A watcher of a second run: it keeps lanes inside, and gives dead lanes of some lines another value."""

    def __init__(self, watched: Watched, poisoned: set[Line]) -> None:
        self._watched, self._poisoned, self._left, self.gave_up = watched, poisoned, 0, False

    def run(self, launch: Launch, accesses: int, programs: list[Program]) -> None:
        self._left = 10 * accesses + 1000
        try:
            launch.again(self, programs)
        except (_GaveUp, Exception):
            self.gave_up = True

    def access(self, access: Access) -> None:
        self._left -= 1
        if self._left < 0:
            raise _GaveUp
        for region, _ in self._watched.inside(access):
            if access.writes:
                region.save()
        if access.undefined and self._poisoned and access.line in self._poisoned:
            access.number = True
