"""State of a process of pytest that its first case needs. The module imports nothing of the harness.

The first case starts the journal (``verdict/journal.py``), which tells what ran when the process ended unexpectedly. The journal is kept to
the end of the process, longer than the test of the first case, so it is no part of the options in force around a case (``ambient.py``).
"""

from __future__ import annotations

import contextlib
import os
from contextlib import ExitStack
from typing import Any

until_it_ends = ExitStack()
"""The resources to close when the run ends."""

stderr = -1
"""The descriptor of a copy of standard error, which pytest does not capture; -1 outside pytest, or without standard error."""


journal: Any = None
"""The file to which the running case is written; None until a case has run."""


def begin() -> None:
    """Mark this process as one of pytest. Call it before pytest captures standard error."""
    global stderr
    if stderr < 0:
        with contextlib.suppress(OSError):
            stderr = os.dup(2)


def end() -> None:
    """Close the resources of the run."""
    global stderr, journal
    until_it_ends.close()
    journal = None
    if stderr >= 0:
        os.close(stderr)
        stderr = -1
