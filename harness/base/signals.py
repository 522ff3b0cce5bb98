"""Signals that end a run: they raise KeyboardInterrupt, at once or at the next case.

Python drops an exception that a signal raises while a callback of the garbage collector runs, and Hypothesis has such a callback.

A received signal is kept for the whole process: signals are sent to processes, and Python handles them in the main thread, whichever thread
runs cases.
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
    """Make SIGTERM, SIGINT and SIGHUP end this process from now on; not SIGHUP under nohup."""
    global _listens
    _listens = True
    for number in _NUMBERS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _hear)


def was_told() -> bool:
    return _told


def end_if_told() -> None:
    """Raise KeyboardInterrupt if a signal was received and its exception was lost."""
    if _told:
        raise KeyboardInterrupt


def ignore() -> None:
    """Ignore these signals from now on, since this process is ending already."""
    global _told
    _told = False
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)


def leave_to_parent() -> None:
    """Ignore Ctrl-C from now on, in a worker: its parent, which gets the signal too, ends the worker by SIGTERM."""
    global _deaf
    _deaf = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def held() -> Iterator[None]:
    """Defer signals while the block runs, which must not be interrupted; raise KeyboardInterrupt at its end if one came."""
    global _held
    _held += 1
    try:
        yield
    finally:
        _held -= 1
    if _told and not _held:
        raise KeyboardInterrupt


def is_ours(error: BaseException) -> bool:
    """Return whether an exception is not the target's own: an interrupt of this process, or pytest's end of a test.

    A worker ignores interrupts, so a KeyboardInterrupt in it is the target's own. So is one in a process that listens for signals and
    received none. In any other process, such as that of pytest, it counts as the user's.
    """
    if isinstance(error, KeyboardInterrupt):
        return _told if _listens else not _deaf
    return ends_pytest(error)


def _hear(_number: int, _frame: Any) -> None:
    global _told
    _told = True
    if not _held:
        raise KeyboardInterrupt
