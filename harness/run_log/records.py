"""The events of a long run as typed values; each field is checked here, so that other code can rely on it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from moefuzz.harness.base.text import printable

Bucket = tuple[str, str, str | None, str | None]
Shares = dict[str, float]
LabelCounts = dict[str, dict[str, int]]
Slowest = tuple[tuple[float, str], ...]
Status = int

_LARGEST = 1e15


class BadEvent(ValueError):
    """Raised for an event of a known kind in which a field is missing or has a wrong value."""


@dataclass(frozen=True)
class Record:
    """The fields that all events have."""

    at: float
    worker: str


@dataclass(frozen=True)
class StartedEvent(Record):
    host: str = ""
    pid: int = 0
    device: str = ""
    gpu: str | None = None
    seconds: float = 0.0  # until its time is up


@dataclass(frozen=True)
class TurnEvent(Record):
    """A batch of examples of one regime."""

    target: str
    regime: str
    examples: int
    level: str = ""
    seconds: float = 0.0
    failing: int = 0  # examples on which the target failed
    passed_by: int = 0  # skipped or failing, and explained by a bug that was found already
    known: int = 0
    refused: int = 0
    no_room: int = 0
    fresh: int = 0  # labels and pairs of labels covered for the first time
    compiles: int = 0
    shares: Shares = field(default_factory=dict)
    covered: LabelCounts = field(default_factory=dict)
    slowest: Slowest = ()


@dataclass(frozen=True)
class FoundEvent(Record):
    """A failure was found and is queued for reduction; logged again if the worker that reduced it was killed."""

    bucket: Bucket
    regime: str = ""
    case: str = ""
    finding: str = ""
    key: str = ""  # by which ReducedEvent refers to it


@dataclass(frozen=True)
class ReducedEvent(Record):
    """A failure was reduced. Its outcome is a report, the same as another, a known issue, or gone when it was run again."""

    bucket: Bucket
    outcome: str
    report: str | None = None
    case: str = ""
    finding: str = ""
    failure: str = ""
    needs: tuple[str, ...] = ()
    seconds: float = 0.0
    key: str = ""


@dataclass(frozen=True)
class WithdrawnEvent(Record):
    """A report of an irreproducible failure was withdrawn, since another report explains it."""

    report: str


@dataclass(frozen=True)
class ResourcesEvent(Record):
    rss: int
    device_used: int | None = None


@dataclass(frozen=True)
class EndedEvent(Record):
    why: str = ""


@dataclass(frozen=True)
class DiedEvent(Record):
    of: str
    status: Status
    restarts: int = 0


@dataclass(frozen=True)
class OutEvent(Record):
    """A worker, and its GPU if it has one, was retired because it failed too often."""

    of: str
    gpu: str | None = None
    why: str = ""


@dataclass(frozen=True)
class ResumedEvent(Record):
    cases: int = 0
    found: int = 0
    reports: int = 0


_KINDS: dict[str, type[Record]] = {
    "started": StartedEvent,
    "turn": TurnEvent,
    "found": FoundEvent,
    "reduced": ReducedEvent,
    "withdrawn": WithdrawnEvent,
    "resources": ResourcesEvent,
    "ended": EndedEvent,
    "died": DiedEvent,
    "out": OutEvent,
    "resumed": ResumedEvent,
}


def record_of(event: Mapping[str, Any]) -> Record | None:
    """Return the typed value of an event; None for a kind that this version does not know. Raises BadEvent."""
    kind = _KINDS.get(event["kind"])
    if kind is None:
        return None
    values = {}
    for said in dataclasses.fields(kind):
        if said.name in event:
            values[said.name] = _READERS[str(said.type)](event[said.name])
        elif said.default is dataclasses.MISSING and said.default_factory is dataclasses.MISSING:
            raise BadEvent(f"{event['kind']} has no {said.name}")
    return kind(**values)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise BadEvent(f"{value!r:.80} is no text")
    return printable(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _LARGEST:
        raise BadEvent(f"{value!r:.80} is no amount")
    return float(value)


def _status(value: Any) -> int:
    if type(value) is not int or abs(value) >= _LARGEST:
        raise BadEvent(f"{value!r:.80} is no exit status")
    return value


def _share(value: Any) -> float:
    """Return a share, which is infinite if the bound is 0. Raises BadEvent."""
    return math.inf if value == math.inf else _number(value)


def _pairs(value: Any) -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        raise BadEvent(f"{value!r:.80} is no object")
    return [(printable(name), inner) for name, inner in value.items()]


def _list(value: Any, length: int | None = None) -> list[Any]:
    if not isinstance(value, list) or (length is not None and len(value) != length):
        raise BadEvent(f"{value!r:.80} is no list of that length")
    return value


def _optional(reader: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else reader(value)


def _bucket(value: Any) -> Bucket:
    target, kind, tensor, of_pass = _list(value, 4)
    return _text(target), _text(kind), _optional(_text)(tensor), _optional(_text)(of_pass)


def _count(value: Any) -> int:
    return int(_number(value))


_READERS: dict[str, Callable[[Any], Any]] = {
    "str": _text,
    "str | None": _optional(_text),
    "int": _count,
    "int | None": _optional(_count),
    "float": _number,
    "Status": _status,
    "Bucket": _bucket,
    "tuple[str, ...]": lambda value: tuple(_text(text) for text in _list(value)),
    "Shares": lambda value: {tensor: _share(share) for tensor, share in _pairs(value)},
    "LabelCounts": lambda value: {name: {label: _count(n) for label, n in _pairs(labels)} for name, labels in _pairs(value)},
    "Slowest": lambda value: tuple((_number(seconds), _text(case)) for seconds, case in (_list(pair, 2) for pair in _list(value))),
}
"""The function that reads a field, by the type of the field."""
