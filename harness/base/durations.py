"""Durations as options and settings write them."""

from __future__ import annotations

import re

MOST_HOURS = 10 * 365 * 24
_NUMBER = r"(\d+(?:\.\d+)?)\s*"
_DURATION = re.compile(rf"(?:{_NUMBER}h)?\s*(?:{_NUMBER}m)?\s*(?:{_NUMBER}s)?|{_NUMBER}", re.ASCII)


class BadDuration(Exception):
    """A text that is no duration; the message is one line, which follows the name of an option."""


def duration(text: str) -> float:
    """Return the seconds of a duration like 90s, 2m, 1h30m, or of a number of seconds. Raises BadDuration.

    >>> duration("1h30m"), duration("1.5m"), duration("5")
    (5400.0, 90.0, 5.0)
    """
    match, got = _DURATION.fullmatch(text.strip()), repr(text if len(text) <= 40 else f"{text[:40]}...")
    if match is None or not any(match.groups()):
        raise BadDuration(f"must be a duration like 90s, 2m, 1h30m or 1.5h, got {got}")
    hours, minutes, seconds, alone = (float(number or 0) for number in match.groups())
    total = 3600 * hours + 60 * minutes + seconds + alone
    if not 0 < total <= 3600 * MOST_HOURS:
        raise BadDuration(f"must be above 0 and at most {MOST_HOURS}h (ten years), got {got}")
    return total
