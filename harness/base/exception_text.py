"""What an exception says, where it is a target's, and may be of any kind."""

from __future__ import annotations

MOST_CHARACTERS = 10_000
"""So much of what an exception says, or of its traceback, is kept: it may be megabytes."""


def text_of(error: BaseException) -> str:
    """The message of an exception in one line. The exception may be a target's: its text may raise, and hold anything."""
    try:
        return " ".join(str(error)[:MOST_CHARACTERS].encode("utf-8", "backslashreplace").decode().split())
    except BaseException:
        return "(its text cannot be had)"
