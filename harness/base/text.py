"""Numbers and foreign texts in readable form, for the screen and the page of a long run."""

from __future__ import annotations

import re
import signal
from datetime import UTC, datetime

_MOST_CHARACTERS = 4_000  # of one text: a case of thirty experts has some 300, an exception of a target may have any number


def duration(seconds: float) -> str:
    """Return a duration in two units at most.

    >>> duration(0.31), duration(59), duration(125), duration(3 * 3600 + 60 * 5 + 9), duration(100 * 3600)
    ('0.31 s', '59 s', '2 min 5 s', '3 h 5 min', '4 d 4 h')
    """
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    for name, size, below, below_size in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // below_size
            return f"{whole // size} {name}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"


def memory(size: float | None) -> str:
    """Return bytes in the unit that leaves at most four digits.

    >>> memory(3 * 2**29), memory(5 * 2**20), memory(None)
    ('1.5 GiB', '5 MiB', '-')
    """
    if size is None:
        return "-"
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def moment(at: float) -> str:
    """Return a date and time in UTC, which is the same on every host.

    >>> moment(0)
    '1970-01-01 00:00 UTC'
    """
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def rate(examples: float, seconds: float) -> str:
    """Return examples per second, with a digit after the point while they are few.

    >>> rate(5, 2), rate(5_000, 2), rate(5, 0)
    ('2.5', '2,500', '-')
    """
    if seconds <= 0:
        return "-"
    return f"{examples / seconds:.1f}" if examples < 100 * seconds else f"{examples / seconds:,.0f}"


def several(number: int, one: str, many: str = "") -> str:
    """Return a number and its noun.

    >>> several(1, "failure"), several(1200, "failure"), several(2, "person", "people")
    ('1 failure', '1,200 failures', '2 people')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def ending(status: int) -> str:
    """Return an exit status as words.

    >>> ending(-9), ending(3), ending(-99)
    ('SIGKILL', 'exit status 3', 'signal 99')
    """
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def by_number(name: str) -> list[tuple[int, str]]:
    """Return the key that sorts names by the numbers in them.

    >>> sorted(["node1-10", "node1-9", "a"], key=by_number)
    ['a', 'node1-9', 'node1-10']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]{1,18})", name)]


def printable(text: str) -> str:
    r"""Return a text of a target without unprintable characters, which a terminal would interpret and XML forbids.

    >>> printable("a\x1b[2Jb\nc\ud800")
    'a?[2Jb c?'
    """
    shown = "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text[:_MOST_CHARACTERS])
    return shown if len(text) <= _MOST_CHARACTERS else f"{shown}…"
