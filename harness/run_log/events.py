"""Read the folder of a long run: its settings, and the events of its workers in order of time.

Each worker appends lines of JSON to its own file. If it was killed, a line may be cut off or contain anything: lines that are no events are
skipped and counted. A last line without a newline is not complete yet.
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
_LATEST = 4e9  # unix seconds, in 2096; a later time is an error, and would make a plot useless

Event = dict[str, Any]


class BadRun(Exception):
    """Raised for a folder that holds no run; the text is one line."""


@dataclass(frozen=True)
class RunInfo:
    """The content of ``run.json``. ``regimes`` and ``labels``, if given, name all that the run could reach."""

    command: str = ""
    targets: tuple[str, ...] = ()
    seconds: float = 0.0
    versions: str = ""
    device: str = ""
    starts: tuple[tuple[float, ...], ...] = ()  # of each host; more than one of a host means that the run was resumed
    regimes: tuple[tuple[str, str], ...] = ()  # (target, regime)
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (field, its labels)

    @property
    def began(self) -> float | None:
        return min((start for starts in self.starts for start in starts), default=None)

    @property
    def resumed(self) -> int:
        """How often the run was resumed, in total over all hosts."""
        return sum(len(starts) - 1 for starts in self.starts)


def said_of(run: Path) -> Event:
    """Return the content of ``run.json``; empty if the run has none yet. Raises BadRun."""
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
    """Return the settings with which a run was started. Raises BadRun."""
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
    """Return the value if it is a list, else an empty list."""
    return value if isinstance(value, list) else []


def starts_of(said: Event) -> tuple[tuple[float, ...], ...]:
    """Return the times at which each host started: a merged run lists several hosts, any other run is of one."""
    merged = said.get("merged")
    each = merged if isinstance(merged, list) else [said.get("starts")]
    times = [tuple(float(at) for at in starts if _is_time(at)) for starts in each if isinstance(starts, list)]
    return tuple(starts for starts in times if starts)


def event_in(line: bytes) -> Event | None:
    """Return the event that a line holds, or None. Only its time, worker and kind are checked."""
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
    """Yield the events of one file, in its order."""
    return Tail(file.parent.parent).new_in(file)


def events_of(run: Path, skipped: Counter[str] | None = None) -> Iterator[Event]:
    """Yield the events of all workers in order of time; they are read one at a time, since those of a whole night need much memory.

    Lines that hold no event are counted in ``skipped``, by the file's name.
    """
    tail = Tail(run)
    tail.skipped = Counter() if skipped is None else skipped
    return tail.new()


def running_in(run: Path) -> dict[str, Event]:
    """Return by worker what it wrote before the case that runs now, or ran when it was killed: the case, and its turn so far."""
    running = {}
    for file in sorted((run / "running").glob("*.json")):
        try:
            said = json.loads(file.read_bytes().partition(b"\n")[0])  # the rest may be left over from a longer line
        except (OSError, ValueError, RecursionError):
            continue
        turn = said.get("turn") if isinstance(said, dict) else None
        if isinstance(turn, dict) and _is_time(turn.get("at")) and isinstance(turn.get("worker"), str):
            running[turn["worker"]] = said | {"turn": turn | {"kind": "turn"}}
    return running


class Tail:
    """Reads the events that are new since the last reading, for a screen that follows a run."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.skipped = Counter[str]()
        self._read: dict[Path, int] = {}  # bytes of each file, up to the end of a line

    def new(self) -> Iterator[Event]:
        """Yield the new events of all workers in order of time. The iterator must be used up: events are not given twice.

        An incomplete last line is left for the next call.
        """
        return heapq.merge(*(self.new_in(file) for file in event_files(self.run)), key=_time_of)

    def new_in(self, file: Path) -> Iterator[Event]:
        """Yield the new events of one worker's file, in its order."""
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
