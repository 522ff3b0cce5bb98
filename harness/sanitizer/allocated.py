"""Allocations and their bytes that were not written yet, by a kernel (which the sanitizer sees) or by torch.

Writes of torch show in the poison and in the version counter. A byte that does not hold the poison was written. A byte that does was not,
unless torch wrote just that value: then the version counter of the tensor moved, and poison that is a likely value (-1 or 0 of integers,
-7) counts as written. All bits set is a NaN that torch never makes.
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
    """A tensor that started with a poison."""

    tensor: torch.Tensor  # an alias, so that other references can be counted
    poison: str
    written: np.ndarray = field(init=False)  # [bytes from its first element to its last]
    stored_by: str = ""  # the last kernel that stored to it
    argument: str = ""  # the name of the tensor in that kernel
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
        """Mark the bytes that torch wrote."""
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
        """Mark in a region of a launch what was not written before it."""
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
        """Mark the bytes that a launch stored."""
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
        """Return the first index of an element that can be reached and was not fully written, and the number of such elements."""
        self.look()
        missing = ~torch.from_numpy(self.written.reshape(-1, self.tensor.element_size()).all(1))
        if missing.any() and (reached := self._reached()) is not None:
            missing &= reached
        at = missing.as_strided(self.tensor.shape, self.tensor.stride()).nonzero()
        return (tuple(at[0].tolist()), len(at)) if len(at) else None

    def _reached(self) -> torch.Tensor | None:
        """Return a mask of the elements of referenced tensors, as of a returned slice of a padded buffer; None where it is unknown."""
        storage = self.tensor.untyped_storage()
        alike = [each for each in gc.get_objects() if each is not self.tensor and _shares(each, storage)]
        if self._holders() > 2 + len(alike):  # one has no Python object, as may be for a gradient
            return None
        reached = np.zeros(len(self.written), bool)
        for view in map(View, itertools.repeat(""), _held(alike)):
            cells = np.zeros(view.stop - view.start, bool)
            as_strided(cells, (*view.tensor.shape, view.itemsize), (*(n * view.itemsize for n in view.tensor.stride()), 1))[...] = True
            start, stop = max(view.start, self.start), min(view.stop, self.stop)
            reached[start - self.start : stop - self.start] |= cells[start - view.start : stop - view.start]
        return torch.from_numpy(reached.reshape(-1, self.tensor.element_size()).any(1))

    def is_held(self) -> bool:
        """Return whether its memory is referenced elsewhere: a workspace that was freed need not have been written."""
        return self._holders() > 2  # this alias, and the storage object of this query

    def _holders(self) -> int:
        holders: int = torch._C._storage_Use_Count(self.tensor.untyped_storage()._cdata)
        return holders


def _held(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the tensors with references other than this list and their own views. A use in C++ is a reference to the Python object."""
    of_nobody = [torch.empty(0)]
    (least,), counts = ([sys.getrefcount(tensor) for tensor in each] for each in (of_nobody, tensors))
    uses = [getattr(tensor, "_use_count", lambda: sys.maxsize)() for tensor in tensors]
    views = Counter(id(tensor._base) for tensor in tensors)
    which = [count - (use > 1) > least or use - 1 > views[id(tensor)] for tensor, count, use in zip(tensors, counts, uses, strict=True)]
    return list(itertools.compress(tensors, which))


def _shares(each: object, storage: torch.UntypedStorage) -> bool:
    """Return whether an object is a tensor in a storage."""
    if not issubclass(type(each), torch.Tensor):
        return False
    try:
        return bool(each.untyped_storage()._cdata == storage._cdata)  # type: ignore[attr-defined]
    except (RuntimeError, NotImplementedError):  # a tensor without a storage
        return False
