"""What was allocated and not written yet: by a kernel, as the sanitizer saw, or by torch, as the poison and the version counter show.

A byte that holds something else than the poison was written. A byte that holds the poison was not, unless torch wrote just that value: then
the tensor's version counter moved, and a value of which the poison is a likely one (-1 or 0 of integers, -7) counts as written. All bits
set is a NaN that torch never makes.
"""

from __future__ import annotations

import gc
import itertools
import sys
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided

from moefuzz.harness.execution.memory import extent, finite_poison

from .regions import MemoryRegion, View, memory


@dataclass(eq=False)
class Allocated:
    """A tensor that began with a poison."""

    tensor: torch.Tensor  # an alias, so that the number of others can be known
    poison: str
    written: np.ndarray = field(init=False)  # [bytes from its first element to its last]
    stored_by: str = ""  # the last kernel that stored to it
    argument: str = ""  # and its name there
    is_reported: bool = False
    _view: View = field(init=False)
    _version: int = field(init=False)

    def __post_init__(self) -> None:
        self._view = View("", self.tensor)
        self.written = np.zeros(self._view.stop - self._view.start, bool)
        self._version = self._count()

    @property
    def start(self) -> int:
        return self._view.start

    @property
    def stop(self) -> int:
        return self._view.stop

    def _count(self) -> int:
        return -1 if self.tensor.is_inference() else self.tensor._version

    def look(self) -> None:
        """Notice what torch wrote."""
        size = self.tensor.element_size()
        if self.poison == "nan":
            poison = np.full(size, 0xFF, np.uint8)
        else:
            poison = torch.full((1,), finite_poison(self.tensor.dtype), dtype=self.tensor.dtype).view(torch.uint8).numpy()
        changed = (memory(self.start, self.stop).reshape(extent(self.tensor), size) != poison).any(1)
        self.written |= changed.repeat(size)
        likely = self.poison != "nan" or not self.tensor.dtype.is_floating_point
        version = self._count()
        if likely and (version != self._version or version < 0):
            self.written[:] = True
        self._version = version

    def enter(self, region: MemoryRegion) -> None:
        """Tell a region of a launch what of it was not written before."""
        start, stop = max(self.start, region.start), min(self.stop, region.stop)
        if start >= stop:
            return
        if not self.written.all():
            self.look()
        of_bytes = self.written[start - self.start : stop - self.start]
        if of_bytes.all():
            return
        if region.unwritten is None:
            region.unwritten = np.zeros((region.stop - region.start) // region.granule, bool)
        granules = (np.arange(start, stop)[~of_bytes] - region.start) // region.granule
        region.unwritten[granules] = True

    def leave(self, region: MemoryRegion, kernel: str) -> None:
        """Take note of what a launch stored."""
        start, stop = max(self.start, region.start), min(self.stop, region.stop)
        stored = region.stored() if start < stop else None
        if stored is None:
            return
        first, last = start - region.start, stop - region.start
        here = stored.repeat(region.granule)[first:last]
        self.written[start - self.start : stop - self.start] |= here
        if here.any():
            self.stored_by, self.argument = kernel, region.element(int(np.flatnonzero(here)[0] + first) // region.granule)[0]

    def not_written(self) -> tuple[tuple[int, ...], int] | None:
        """The index of the first element of which a byte was written by nobody, and how many there are that can be reached."""
        self.look()
        missing = ~torch.from_numpy(self.written.reshape(-1, self.tensor.element_size()).all(1))
        if missing.any() and (reached := self._reached()) is not None:
            missing &= reached
        at = missing.as_strided(self.tensor.shape, self.tensor.stride()).nonzero()
        return (tuple(at[0].tolist()), len(at)) if len(at) else None

    def _reached(self) -> torch.Tensor | None:
        """Which elements lie in a tensor that somebody holds: of a padded buffer those of the slice that was returned; None: not known."""
        storage = self.tensor.untyped_storage()
        alike = [each for each in gc.get_objects() if each is not self.tensor and _shares(each, storage)]
        if self._holders() > 2 + len(alike):  # one has no Python object, as a gradient may have none
            return None
        reached = np.zeros(len(self.written), bool)
        for view in map(View, itertools.repeat(""), _held(alike)):
            cells = np.zeros(view.stop - view.start, bool)
            as_strided(cells, (*view.tensor.shape, view.itemsize), (*(n * view.itemsize for n in view.tensor.stride()), 1))[...] = True
            start, stop = max(view.start, self.start), min(view.stop, self.stop)
            reached[start - self.start : stop - self.start] |= cells[start - view.start : stop - view.start]
        return torch.from_numpy(reached.reshape(-1, self.tensor.element_size()).any(1))

    def is_held(self) -> bool:
        """Whether anybody else still holds its memory: a workspace that is gone need not have been written."""
        return self._holders() > 2  # this alias, and the storage just asked for

    def _holders(self) -> int:
        holders: int = torch._C._storage_Use_Count(self.tensor.untyped_storage()._cdata)
        return holders


def _held(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Those that more than this list and their own views holds. A use in C++ keeps the Python object, which is a use itself."""
    of_nobody = [torch.empty(0)]
    (least,), counts = ([sys.getrefcount(tensor) for tensor in each] for each in (of_nobody, tensors))
    uses = [getattr(tensor, "_use_count", lambda: sys.maxsize)() for tensor in tensors]
    views = Counter(id(tensor._base) for tensor in tensors)
    which = [count - (use > 1) > least or use - 1 > views[id(tensor)] for tensor, count, use in zip(tensors, counts, uses, strict=True)]
    return list(itertools.compress(tensors, which))


def _shares(each: object, storage: torch.UntypedStorage) -> bool:
    """Whether something is a tensor in a storage."""
    if not issubclass(type(each), torch.Tensor):
        return False
    try:
        return bool(each.untyped_storage()._cdata == storage._cdata)  # type: ignore[attr-defined]
    except (RuntimeError, NotImplementedError):  # it has none
        return False
