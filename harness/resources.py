"""What the machine lacks is no failure of a target: memory for a case, or a device that answers."""

from __future__ import annotations

from hypothesis.errors import UnsatisfiedAssumption

_SAID = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


class NoRoom(UnsatisfiedAssumption):
    """The device has no memory for a case now, which says nothing of a target: to Hypothesis an example that is to be passed by."""


class LostDevice(BaseException):
    """No process can be started any more in which a case could run, or no case has room: Hypothesis passes it on."""


def lack_of_memory(error: BaseException) -> str:
    """What an exception says of memory that could not be had, in one line; empty where it is about something else."""
    text = " ".join(str(error).split()).rpartition("Allocator: ")[2]
    lacks = isinstance(error, RuntimeError) and any(said in text for said in _SAID)
    return text.partition(". GPU ")[0].partition(" Search for")[0] if lacks else ""
