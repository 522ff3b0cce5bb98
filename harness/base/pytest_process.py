"""A process of pytest, while no case has run in it: what the first one needs to know. Nothing is imported for it.

The first case starts the journal (``verdict/journal.py``), which says what ran when the process ended without a word. The journal lasts to
the end of the process, longer than the test whose case is the first, so it is no part of what is in force around a case (``ambient.py``).
"""

from __future__ import annotations

import contextlib
import os
from contextlib import ExitStack
from typing import Any

until_it_ends = ExitStack()
"""What is closed when the run ends."""

stderr = -1
"""A copy of standard error, which capturing does not redirect; -1 where this is no process of pytest, or it has none."""


journal: Any = None
"""The file into which the running case is written, once one has run."""


def begin() -> None:
    """Say that this is a process of pytest. Its standard error is not captured now."""
    global stderr
    if stderr < 0:
        with contextlib.suppress(OSError):
            stderr = os.dup(2)


def end() -> None:
    """Close what the run opened."""
    global stderr, journal
    until_it_ends.close()
    journal = None
    if stderr >= 0:
        os.close(stderr)
        stderr = -1
