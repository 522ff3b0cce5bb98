"""What the machine lacks is no failure of a target: memory for a case, or a device that answers. What no machine has, is one."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import psutil
import torch
from hypothesis import settings
from hypothesis.database import ExampleDatabase
from hypothesis.errors import UnsatisfiedAssumption

from .exception_text import text_of

BEYOND_REASON = 1000
"""So many times the bytes of a case's own tensors may a target ask for, before memory that cannot be had is its failure."""

_SAID = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


class NoRoom(UnsatisfiedAssumption):
    """The device has no memory for a case now, which says nothing of a target: to Hypothesis an example that is to be passed by."""


_last_had_room: ContextVar[bool] = ContextVar("moefuzz_last_had_room", default=True)


@contextmanager
def room_noted() -> Iterator[None]:
    """Note for ``KeepsWhatHadNoRoom`` whether the case that runs meanwhile raises NoRoom: in this thread, which is Hypothesis' too."""
    _last_had_room.set(True)
    try:
        yield
    except NoRoom:
        _last_had_room.set(False)
        raise


class KeepsWhatHadNoRoom(ExampleDatabase):
    """Hypothesis' default database; a stored failure that had no room this time is not taken for mended, and stays."""

    @property
    def _stored(self) -> ExampleDatabase:
        stored = settings.get_profile("default").database  # below Hypothesis' home, wherever that is by now
        assert stored is not None
        return stored

    def __repr__(self) -> str:
        return repr(self._stored)

    def fetch(self, key: bytes) -> Iterable[bytes]:
        return self._stored.fetch(key)

    def save(self, key: bytes, value: bytes) -> None:
        self._stored.save(key, value)

    def delete(self, key: bytes, value: bytes) -> None:
        if _last_had_room.get():
            self._stored.delete(key, value)


class LostDevice(BaseException):
    """Nothing can go on: no process can be started for a case, none has room, or the disk is full. Hypothesis passes it on."""


def lack_of_memory(error: BaseException) -> str:
    """What an exception says of memory that could not be had, in one line; empty where it is about something else."""
    text = text_of(error)
    if isinstance(error, MemoryError):
        return f"{type(error).__name__}: {text}".rstrip(": ")
    text = text.rpartition("Allocator: ")[2]
    lacks = isinstance(error, RuntimeError) and any(said in text for said in _SAID)
    return text.partition(". GPU ")[0].partition(" Search for")[0] if lacks else ""


def is_beyond_reason(lack: str, case_bytes: int) -> bool:
    """Whether no machine like this one has the memory that a target asked for, for a case whose tensors take ``case_bytes`` in all.

    ``lack`` is what ``lack_of_memory`` gave. A request counts that is larger than all memory of the device and than a thousand times the
    case's tensors. Where the size is not said, as by a MemoryError that a target raises itself, all memory that is free now counts instead.
    """
    needed = BEYOND_REASON * case_bytes
    if (asked := _asked_for(lack)) is not None:
        return asked > max(needed, _memory("total"))
    return _memory("available") > needed


def _asked_for(lack: str) -> float | None:
    """Bytes."""
    match = re.search(r"([\d.]+(?:e[+-]?\d+)?) (bytes|[KMGTPE]iB)", lack)
    return None if match is None else float(match[1]) * 1024 ** "bKMGTPE".index(match[2][0])


def _memory(what: str) -> int:
    """Bytes of the device that targets run on: "total" or "available"."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        available, total = torch.cuda.mem_get_info()
        return total if what == "total" else available
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    here: int = getattr(psutil.virtual_memory(), what)
    return here if limit == resource.RLIM_INFINITY else min(here, limit) if what == "total" else 0  # what is left of a limit is not known
