"""The memory that a launch may access, and the state of each byte of it.

A region is a range of addresses that one tensor, or several overlapping ones, cover. Its state is kept for each *granule*, the largest
unit of which the elements of every view, and so far all accesses, are whole multiples. An access covers a granule wholly or not at all, so
a state for each byte would tell no more. The first access that fits no granule (through a cast pointer) splits them into bytes.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided

LARGEST_COPY = 1 << 26  # bytes of a region that a second run may need a copy of
LARGEST_STATE = 1 << 28  # bytes of a region with a state; in a larger one accesses are checked against its two ends only


@dataclass(frozen=True, eq=False)
class View:
    """A tensor that was passed to a launch."""

    name: str
    tensor: torch.Tensor
    start: int = field(init=False)
    stop: int = field(init=False)  # the address after the last byte of the last element

    def __post_init__(self) -> None:
        last = sum((size - 1) * stride for size, stride in zip(self.tensor.shape, self.tensor.stride(), strict=True))
        object.__setattr__(self, "start", self.tensor.data_ptr())
        object.__setattr__(self, "stop", self.start + (last + 1) * self.itemsize if self.tensor.numel() else self.start)

    @property
    def itemsize(self) -> int:
        return self.tensor.element_size()

    @property
    def has_gaps(self) -> bool:
        return self.stop - self.start != self.tensor.numel() * self.itemsize

    def index(self, address: int) -> tuple[int, ...] | None:
        """Return the index of the element that holds a byte, None in a gap and outside."""
        element, index = (address - self.start) // self.itemsize, [0] * self.tensor.dim()
        shape, strides = self.tensor.shape, self.tensor.stride()
        if not self.start <= address < self.stop:
            return None
        for axis in sorted(range(len(shape)), key=lambda axis: (-strides[axis], shape[axis])):
            if strides[axis]:
                index[axis] = min(element // strides[axis], shape[axis] - 1)
                element -= index[axis] * strides[axis]
        return None if element else tuple(index)


def views(arguments: Mapping[str, Any], extra: Iterable[torch.Tensor]) -> Iterator[View]:
    """Yield every tensor among the arguments of a launch, also inside tuples and tensor descriptors, and the extra ones."""
    for name, value in arguments.items():
        if isinstance(value, torch.Tensor):
            yield View(name, value)
        elif isinstance(value, tuple | list):
            yield from views({f"{name}[{i}]": item for i, item in enumerate(value)}, ())
        elif isinstance(base := getattr(value, "base", None), torch.Tensor):  # a TensorDescriptor, or triton.reinterpret
            yield View(name, base)
    yield from (View(f"extra[{i}]", tensor) for i, tensor in enumerate(extra))


class MemoryRegion:
    """A range of addresses and its state in one launch. Events are numbers of accesses in their order; 0 means none."""

    def __init__(self, covering: list[View]) -> None:
        self.views = covering
        self.start, self.stop = covering[0].start, max(view.stop for view in covering)
        self.granule = math.gcd(*(view.itemsize for view in covering), *(view.start - self.start for view in covering))
        self.has_state = self.stop - self.start <= LARGEST_STATE
        self.valid = self._valid() if self.has_state and (len(covering) > 1 or covering[0].has_gaps) else None  # None: all of it
        self.unwritten: np.ndarray | None = None  # granules not written between allocation and launch; None if there are none
        self.events: dict[str, np.ndarray] = {}  # "store", "atomic", "atomic before", "load", "load before", "release"
        self.before: np.ndarray | None = None  # its bytes, before the first store
        self.loads: list[tuple[int, int, np.ndarray]] = []  # not yet entered: there may never be a store to conflict with
        self.waiting = 0  # the number of their granules

    def _valid(self) -> np.ndarray:
        valid = np.zeros((self.stop - self.start) // self.granule, bool)
        for view in self.views:
            if view.tensor.numel():
                at, units = (view.start - self.start) // self.granule, view.itemsize // self.granule
                shape, strides = (*view.tensor.shape, units), (*(stride * units for stride in view.tensor.stride()), 1)
                as_strided(valid[at:], shape, strides)[...] = True
        return valid

    @property
    def bytes(self) -> np.ndarray:
        return memory(self.start, self.stop)

    @property
    def can_be_copied(self) -> bool:
        return self.stop - self.start <= LARGEST_COPY

    def save(self) -> None:
        """Save the bytes before the first store."""
        if self.before is None and self.can_be_copied:
            self.before = self.bytes.copy()

    def granules(self, addresses: np.ndarray, width: int) -> np.ndarray:
        """Return the granules that accesses of ``width`` bytes inside the region cover; [lanes * granules of an element]."""
        offsets = addresses.astype(np.int64) - self.start
        if self.granule > 1 and (width % self.granule or (offsets % self.granule).any()):
            self._split()
        if self.granule > 1:
            offsets //= self.granule
        units = width // self.granule
        return offsets if units == 1 else (offsets[:, None] + np.arange(units)).ravel()

    def _split(self) -> None:
        size, self.granule = self.granule, 1
        self.valid = None if self.valid is None else self.valid.repeat(size)
        self.unwritten = None if self.unwritten is None else self.unwritten.repeat(size)
        self.events = {name: events.repeat(size) for name, events in self.events.items()}
        self.loads = [(event, since, (at[:, None] * size + np.arange(size)).ravel()) for event, since, at in self.loads]

    def of(self, name: str) -> np.ndarray:
        """Return the last event of a sort on each granule."""
        if name not in self.events:
            self.events[name] = np.zeros((self.stop - self.start) // self.granule, np.int32)
        return self.events[name]

    @property
    def is_one_way(self) -> bool:
        """Whether this launch only loaded from the region, or only stored to it, so that no program could see another's stores."""
        sorts = set(self.events)
        return sorts <= {"load", "load before"} or (sorts == {"store"} and not self.loads)

    def stored(self) -> np.ndarray | None:
        """Return a mask of the granules that were stored to in this launch, None if there are none."""
        kinds = [self.events[name] for name in ("store", "atomic") if name in self.events]
        return np.logical_or.reduce([events > 0 for events in kinds]) if kinds else None

    def differ(self, one: np.ndarray | None, other: np.ndarray) -> np.ndarray:
        """Return a mask of the bytes that differ between two states; all NaN are equal, since processors differ in their bits."""
        assert one is not None
        differs: np.ndarray = one != other
        dtype = self.views[0].tensor.dtype
        if (
            differs.any()
            and dtype.is_floating_point
            and all(view.tensor.dtype == dtype for view in self.views)
            and len(one) % dtype.itemsize == 0
        ):
            both = [torch.from_numpy(state).view(dtype).float().isnan().numpy() for state in (one, other)]
            differs &= ~(both[0] & both[1]).repeat(dtype.itemsize)
        return differs

    def is_stored(self, at: np.ndarray) -> np.ndarray:
        """Return which of some granules were stored to."""
        stored = np.zeros(at.size, bool)
        for name in ("store", "atomic"):
            if name in self.events:
                stored |= self.events[name][at] > 0
        return stored

    def element(self, granule: int) -> tuple[str, tuple[int, ...] | None]:
        """Return the argument to which a granule belongs, and the index in it."""
        address = self.start + granule * self.granule
        for view in self.views:
            if (index := view.index(address)) is not None:
                return view.name, index
        return self.views[0].name, None


def regions(all_views: Iterable[View]) -> list[MemoryRegion]:
    """Return the regions of tensors, in the order of their addresses; a tensor without elements covers nothing."""
    groups: list[list[View]] = []
    stop = 0
    for view in sorted((view for view in all_views if view.stop > view.start), key=lambda view: view.start):
        if groups and view.start < stop:
            groups[-1].append(view)
        else:
            groups.append([view])
        stop = max(stop, view.stop)
    return [MemoryRegion(group) for group in groups]


def memory(start: int, stop: int) -> np.ndarray:
    """Return a live view of the bytes from one address to another."""
    return np.ctypeslib.as_array((ctypes.c_ubyte * (stop - start)).from_address(start))
