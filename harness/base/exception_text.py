"""The text of an exception that a target raised, which may be of any kind."""

from __future__ import annotations

MOST_CHARACTERS = 10_000
"""The number of characters kept of the text of an exception or of its traceback, which may be megabytes."""


def text_of(error: BaseException) -> str:
    """Return the message of an exception in one line. In an exception of a target ``__str__`` may raise, or return any characters."""
    try:
        return " ".join(str(error)[:MOST_CHARACTERS].encode("utf-8", "backslashreplace").decode().split())
    except BaseException:
        return "(its text cannot be had)"
