"""A memory sanitizer for Triton kernels under Triton's interpreter; see ``docs/guide/sanitizer.md``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from moefuzz.harness.execution.allocations import Allocations, allocation_watchers
from moefuzz.kernels import triton_interpreter
from moefuzz.kernels.triton_interpreter.accesses import Access, Watcher, watchers
from moefuzz.kernels.triton_interpreter.launches import Launch

from .allocated import Allocated
from .findings import Finding
from .launches import Watched
from .regions import MemoryRegion, View, views

__all__ = ["CannotSanitize", "Finding", "Findings", "sanitize"]

LARGEST_TABLE = 1 << 12  # elements of a tensor of 64-bit integers that may be pointers


class CannotSanitize(RuntimeError):
    """Kernels of this process do not run under the interpreter, or this Triton cannot be watched."""


class Findings(list[Finding]):
    """The distinct findings so far."""

    launches = 0
    """The number of launches that were watched."""

    check_written: Callable[[], None]
    """Look now for elements that were never written, while results are still referenced; the end of the ``with`` does it too."""


@contextmanager
def sanitize(*, extra: torch.Tensor | Iterable[torch.Tensor] = (), written_twice: bool = False) -> Iterator[Findings]:
    """Watch every launch of a ``triton.jit`` kernel within the block, and yield the list that collects each distinct misuse once.

    - ``extra``: tensors that a kernel reaches in other ways than through its arguments.
    - ``written_twice``: also report elements that two stores of a launch write, or two lanes of one store.

    Tensors that torch allocates meanwhile lie between guard zones and start poisoned, floating types as NaN and integers as -1. Raises
    CannotSanitize.
    """
    if not triton_interpreter.in_force():
        raise CannotSanitize(
            "the sanitizer watches Triton's interpreter, which is not in force: set TRITON_INTERPRET=1 before the kernels are imported"
        )
    try:
        triton_interpreter.repair()
    except ImportError as error:
        raise CannotSanitize(str(error)) from error
    tensors = (extra,) if isinstance(extra, torch.Tensor) else tuple(extra)
    if wrong := [type(each).__name__ for each in tensors if not isinstance(each, torch.Tensor)]:
        raise TypeError(f"extra must be tensors, got a {wrong[0]}")
    sanitizer = _Sanitizer(tensors, written_twice=written_twice)
    watchers.insert(0, sanitizer)  # first, so that other watchers do not see a lane that it clears
    allocation_watchers.append(sanitizer.allocated)
    try:
        with Allocations(torch.device("cpu"), watches_loads=False):
            yield sanitizer.findings
        sanitizer.check_written()
    finally:
        watchers.remove(sanitizer)
        allocation_watchers.remove(sanitizer.allocated)


class _Sanitizer(Watcher):
    def __init__(self, extra: tuple[torch.Tensor, ...], *, written_twice: bool) -> None:
        self._extra, self._written_twice = extra, written_twice
        self.findings = Findings()
        self.findings.check_written = self.check_written
        self._places: dict[tuple[object, ...], int] = {}
        self._allocated: dict[int, Allocated] = {}
        self._launch: Watched | None = None

    def allocated(self, tensor: torch.Tensor, poison: str | None) -> None:
        """Record an allocation that starts poisoned."""
        if poison is not None:
            self._allocated[tensor.data_ptr()] = Allocated(tensor, poison)

    def begin(self, launch: Launch) -> None:
        self.findings.launches += 1
        passed = [*views(launch.arguments, self._extra)]
        if elsewhere := [view.name for view in passed if view.tensor.device.type != "cpu"]:
            raise CannotSanitize(
                f"{launch.kernel.__name__}: {', '.join(elsewhere)} lies on another device than the CPU, and the interpreter copies it"
            )
        passed += self._pointed_to(passed)
        self._launch = Watched(launch, passed, self.report, written_twice=self._written_twice)
        for region, allocated in self._pairs(self._launch):
            allocated.enter(region)

    def end(self, _launch: Launch, *, finished: bool) -> None:
        done, self._launch = self._launch, None
        if done is None:
            return
        done.close(finished=finished)
        for region, allocated in self._pairs(done):
            allocated.leave(region, done.name)

    def access(self, access: Access) -> None:
        if self._launch:
            self._launch.access(access)

    def _pairs(self, launch: Watched) -> Iterator[tuple[MemoryRegion, Allocated]]:
        """Yield each region of a launch with each allocation in it."""
        for region in launch.regions:
            allocated = self._allocated.get(region.views[0].tensor.untyped_storage().data_ptr())
            if allocated is not None and region.has_state:
                yield region, allocated

    def _pointed_to(self, passed: list[View]) -> list[View]:
        """Return the allocations whose address is an element of an integer tensor that is passed."""
        tables = [
            view.tensor for view in passed if view.tensor.dtype in (torch.int64, torch.uint64) and 0 < view.tensor.numel() <= LARGEST_TABLE
        ]
        if not tables or not self._allocated:
            return []
        found = np.intersect1d(np.concatenate([table.reshape(-1).view(torch.int64).numpy() for table in tables]), [*self._allocated])
        return [View(f"a tensor of shape {tuple(tensor.shape)}", tensor) for tensor in (self._allocated[int(at)].tensor for at in found)]

    def report(self, finding: Finding) -> None:
        """Add a finding, or count it."""
        place = self._places.setdefault(finding.key, len(self.findings))
        if place == len(self.findings):
            self.findings.append(finding)
        else:
            self.findings[place] = self.findings[place].and_again(finding)

    def check_written(self) -> None:
        """Report allocations that are still referenced and were stored to, but not in every element."""
        for allocated in self._allocated.values():
            if allocated.stored_by and not allocated.is_reported and allocated.is_held() and (missing := allocated.not_written()):
                allocated.is_reported = True
                element, count = missing
                self.report(Finding("NotWritten", allocated.stored_by, "no program wrote", allocated.argument, element, count=count))
