"""The folder of a long run, as it is read: what it was started as, and the events of its workers by time.

Each worker appends lines of JSON to a file of its own, so a line may be cut off where one was killed, and anything may stand in it. What
is no event is passed by and counted; a last line without its end has not been written yet.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from moefuzz.harness.base.text import printable

FORMAT_VERSION = 1
_LATEST = 4e9  # unix seconds, in 2096; a time beyond is a mistake, and would leave no room for the others in a plot

Event = dict[str, Any]


class BadRun(Exception):
    """A folder that holds no run; the text is one line."""


@dataclass(frozen=True)
class RunInfo:
    """What ``run.json`` says. ``regimes`` and ``labels``, where it has them, name what the run could have reached."""

    command: str = ""
    targets: tuple[str, ...] = ()
    seconds: float = 0.0
    versions: str = ""
    device: str = ""
    starts: tuple[tuple[float, ...], ...] = ()  # of each host: more than one is a run that was resumed
    regimes: tuple[tuple[str, str], ...] = ()  # (target, regime)
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (field, its labels)

    @property
    def began(self) -> float | None:
        return min((start for starts in self.starts for start in starts), default=None)

    @property
    def resumed(self) -> int:
        """How often a host began again."""
        return sum(len(starts) - 1 for starts in self.starts)


def said_of(run: Path) -> Event:
    """``run.json`` as it stands; empty where a run has none yet. Raises BadRun."""
    if not run.is_dir():
        raise BadRun(f"there is no folder {run}")
    file = run / "run.json"
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not (run / "events").is_dir():
            raise BadRun(f"{run} holds no run: it has neither run.json nor events") from None
        return {}
    except OSError as error:
        raise BadRun(f"{file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BadRun(f"{file} cannot be read: {type(error).__name__}: {error}") from None
    if not isinstance(said, dict):
        raise BadRun(f"{file} cannot be read: it holds no object")
    if said.get("format") != FORMAT_VERSION:
        raise BadRun(f"{file}: run has format {said.get('format')!r}, this version of moefuzz reads {FORMAT_VERSION}")
    return said


def info_of(run: Path) -> RunInfo:
    """What a run was started as. Raises BadRun."""
    said = said_of(run)
    text = {name: printable(said[name]) for name in ("command", "versions", "device") if isinstance(said.get(name), str)}
    seconds, regimes, labels = said.get("seconds", 0.0), said.get("regimes"), said.get("labels")
    return RunInfo(
        **text,
        targets=_texts(said.get("targets")),
        seconds=float(seconds) if _is_time(seconds) else 0.0,
        starts=starts_of(said),
        regimes=tuple((printable(target), name) for target, names in _items(regimes) for name in _texts(names)),
        labels=tuple((printable(field), _texts(names)) for field, names in _items(labels)),
    )


def list_of(value: Any) -> list[Any]:
    """What a file has for a list; empty where it is none."""
    return value if isinstance(value, list) else []


def starts_of(said: Event) -> tuple[tuple[float, ...], ...]:
    """The starts of each host: a run that was merged lists them, any other has one."""
    merged = said.get("merged")
    each = merged if isinstance(merged, list) else [said.get("starts")]
    times = [tuple(float(at) for at in starts if _is_time(at)) for starts in each if isinstance(starts, list)]
    return tuple(starts for starts in times if starts)


def event_in(line: bytes) -> Event | None:
    """The event that a line holds, or None: it has a time, a worker and a kind, and nothing else is known of it."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not _is_time(event.get("at")):
        return None
    return event if isinstance(event.get("worker"), str) and isinstance(event.get("kind"), str) else None


def event_files(run: Path) -> list[Path]:
    return sorted((run / "events").glob("*.ndjson"))


def events_in(file: Path) -> Iterator[Event]:
    """The events of one file, in its order."""
    return Tail(file.parent.parent).new_in(file)


def events_of(run: Path, skipped: Counter[str] | None = None) -> Iterator[Event]:
    """The events of all workers by time, one at a time: the events of a night do not fit into memory at ease.

    Lines that hold none are counted by the file's name.
    """
    tail = Tail(run)
    tail.skipped = Counter() if skipped is None else skipped
    return tail.new()


def running_in(run: Path) -> dict[str, Event]:
    """By worker, the turn that is under way, or that was when the worker was killed: the running case, and its event so far."""
    running = {}
    for file in sorted((run / "running").glob("*.json")):
        try:
            said = json.loads(file.read_bytes().partition(b"\n")[0])  # what follows may be left from a longer line
        except (OSError, ValueError, RecursionError):
            continue
        turn = said.get("turn") if isinstance(said, dict) else None
        if isinstance(turn, dict) and _is_time(turn.get("at")) and isinstance(turn.get("worker"), str):
            running[turn["worker"]] = said | {"turn": turn | {"kind": "turn"}}
    return running


class Tail:
    """The events that came since the last look, for a screen that follows a run."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.skipped = Counter[str]()
        self._read: dict[Path, int] = {}  # bytes of each file, up to the end of a line

    def new(self) -> Iterator[Event]:
        """By time, of all workers, as ``events_of`` gives them; to be used up, as what is passed by does not come again.

        A line that is not finished waits for the next look.
        """
        return heapq.merge(*(self.new_in(file) for file in event_files(self.run)), key=_time_of)

    def new_in(self, file: Path) -> Iterator[Event]:
        """Of one worker, in the order of its file."""
        with file.open("rb") as lines:
            lines.seek(self._read.get(file, 0))
            while (line := lines.readline()).endswith(b"\n"):
                self._read[file] = lines.tell()
                if (event := event_in(line)) is not None:
                    yield event
                elif line.strip():
                    self.skipped[file.name] += 1


def _time_of(event: Event) -> float:
    return float(event["at"])


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < _LATEST


def _texts(value: object) -> tuple[str, ...]:
    return tuple(printable(text) for text in value if isinstance(text, str)) if isinstance(value, list) else ()


def _items(value: object) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, dict) else ()
