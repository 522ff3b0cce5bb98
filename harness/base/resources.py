"""Lack of memory for a case, or of a working device, is no failure of a target. A request for more memory than any machine has is one."""

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
"""A failed request for more than this many times the bytes of a case's own tensors counts as a failure of the target."""

_SAID = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


class NoRoom(UnsatisfiedAssumption):
    """The device lacks memory for a case now, which is no failure of the target; Hypothesis skips the example."""


_last_had_room: ContextVar[bool] = ContextVar("moefuzz_last_had_room", default=True)


@contextmanager
def room_noted() -> Iterator[None]:
    """Record for ``KeepsWhatHadNoRoom`` whether the case in the block raises NoRoom, for this thread, in which Hypothesis runs too."""
    _last_had_room.set(True)
    try:
        yield
    except NoRoom:
        _last_had_room.set(False)
        raise


class KeepsWhatHadNoRoom(ExampleDatabase):
    """Hypothesis' default database, which keeps a stored failure if its case lacked memory this time."""

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
    """The run cannot continue: no worker can be started, none has enough memory, or the disk is full. Hypothesis lets it propagate."""


def lack_of_memory(error: BaseException) -> str:
    """Return in one line what an exception says about a failed allocation; empty where it is about something else."""
    text = text_of(error)
    if isinstance(error, MemoryError):
        return f"{type(error).__name__}: {text}".rstrip(": ")
    text = text.rpartition("Allocator: ")[2]
    lacks = isinstance(error, RuntimeError) and any(said in text for said in _SAID)
    return text.partition(". GPU ")[0].partition(" Search for")[0] if lacks else ""


def is_beyond_reason(lack: str, case_bytes: int) -> bool:
    """Return whether a target asked for more memory than a machine like this has, for a case with tensors of ``case_bytes`` in all.

    ``lack`` is the result of ``lack_of_memory``. The request must be larger than all memory of the device and than a thousand times the
    case's tensors. Where its size is unknown, as for a MemoryError that a target raises itself, all free memory is taken as the request.
    """
    needed = BEYOND_REASON * case_bytes
    if (asked := _asked_for(lack)) is not None:
        return asked > max(needed, _memory("total"))
    return _memory("available") > needed


def _asked_for(lack: str) -> float | None:
    """Return the requested bytes; None where the text does not give them."""
    match = re.search(r"([\d.]+(?:e[+-]?\d+)?) (bytes|[KMGTPE]iB)", lack)
    return None if match is None else float(match[1]) * 1024 ** "bKMGTPE".index(match[2][0])


def _memory(what: str) -> int:
    """Return the bytes, "total" or "available", of the device on which targets run."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        available, total = torch.cuda.mem_get_info()
        return total if what == "total" else available
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    here: int = getattr(psutil.virtual_memory(), what)
    return here if limit == resource.RLIM_INFINITY else min(here, limit) if what == "total" else 0  # the rest of a limit is unknown
