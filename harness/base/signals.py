"""Being told to end: as KeyboardInterrupt, at once or at the next case.

Python drops an exception that a signal raises while a callback of the garbage collector runs, and Hypothesis has one.

What was heard is kept for the whole process: a signal is sent to a process, and Python handles it in the main thread, whichever runs cases.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .hypothesis_internals import ends_pytest

_NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_told = False
_listens, _deaf, _held = False, False, 0


def listen() -> None:
    """From now on SIGTERM, SIGINT and SIGHUP tell this process to end; not SIGHUP below nohup."""
    global _listens
    _listens = True
    for number in _NUMBERS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _hear)


def was_told() -> bool:
    return _told


def end_if_told() -> None:
    """Raise KeyboardInterrupt where a signal could not."""
    if _told:
        raise KeyboardInterrupt


def ignore() -> None:
    """Ignore these signals from now on: this process ends already."""
    global _told
    _told = False
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)


def leave_to_parent() -> None:
    """Ignore Ctrl-C from now on, in a worker: its parent, which gets it too, ends it by SIGTERM."""
    global _deaf
    _deaf = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def held() -> Iterator[None]:
    """Put a signal off until what must not be torn apart is done; KeyboardInterrupt is raised at the end of it."""
    global _held
    _held += 1
    try:
        yield
    finally:
        _held -= 1
    if _told and not _held:
        raise KeyboardInterrupt


def is_ours(error: BaseException) -> bool:
    """Whether an exception only passes through the code of a target: an interrupt of this process, or pytest's end of a test.

    A worker is not interrupted, so that a KeyboardInterrupt in it is the target's own. So is one in a process that
    listens and heard none. In any other, such as that of pytest, it counts as the user's.
    """
    if isinstance(error, KeyboardInterrupt):
        return _told if _listens else not _deaf
    return ends_pytest(error)


def _hear(_number: int, _frame: Any) -> None:
    global _told
    _told = True
    if not _held:
        raise KeyboardInterrupt
