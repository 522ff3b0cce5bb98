"""What the machine lacks is no failure of a target: memory for a case, or a device that answers."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import settings
from hypothesis.database import ExampleDatabase
from hypothesis.errors import UnsatisfiedAssumption

_SAID = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


class NoRoom(UnsatisfiedAssumption):
    """The device has no memory for a case now, which says nothing of a target: to Hypothesis an example that is to be passed by."""

    last = False  # whether the case that ran last had no room

    def __init__(self, said: str) -> None:
        super().__init__(said)
        NoRoom.last = True


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
        if not NoRoom.last:
            self._stored.delete(key, value)


class LostDevice(BaseException):
    """Nothing can go on: no process can be started for a case, none has room, or the disk is full. Hypothesis passes it on."""


def lack_of_memory(error: BaseException) -> str:
    """What an exception says of memory that could not be had, in one line; empty where it is about something else."""
    if isinstance(error, MemoryError):
        return f"{type(error).__name__}: {error}".rstrip(": ")
    text = " ".join(str(error).split()).rpartition("Allocator: ")[2]
    lacks = isinstance(error, RuntimeError) and any(said in text for said in _SAID)
    return text.partition(". GPU ")[0].partition(" Search for")[0] if lacks else ""
