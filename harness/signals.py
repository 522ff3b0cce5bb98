"""Being told to end: as KeyboardInterrupt, at once or at the next case.

Python drops an exception that a signal raises while a callback of the garbage collector runs, and Hypothesis has one.
"""

from __future__ import annotations

import signal
from typing import Any

_told = False


def listen() -> None:
    """From now on SIGTERM and SIGINT tell this process to end."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _hear)


def end_if_told() -> None:
    """Raise KeyboardInterrupt where a signal could not."""
    if _told:
        raise KeyboardInterrupt


def ignore() -> None:
    """It was heard, and is not to be said again."""
    global _told
    _told = False
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _hear(_number: int, _frame: Any) -> None:
    global _told
    _told = True
    raise KeyboardInterrupt
