"""A run as JSON: every field of ``RunOutcome`` under its own name, and the version of the format. Infinity is the text "inf".

A pair of surrogates that encodes one character is read back as that character. Everything else is read back unchanged.
"""

from __future__ import annotations

import dataclasses
import json
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from moefuzz.harness.run_log.outcome import RunOutcome

FORMAT_VERSION = 1
_NO_NUMBERS = ("inf", "-inf", "nan")


class BadOutcome(ValueError):
    """Raised for a document that is no outcome of a run; the text is one line."""


def document(outcome: RunOutcome) -> str:
    """Return the outcome as a JSON object, in ASCII."""
    return json.dumps({"format": FORMAT_VERSION, **_plain(dataclasses.asdict(outcome))}, indent=1, allow_nan=False) + "\n"


def outcome_from_json(text: str) -> RunOutcome:
    """Return the outcome that a document describes. Raises BadOutcome if a field is missing, unknown, or of a wrong type."""
    fields = _loaded(text)
    if not isinstance(fields, dict) or "format" not in fields:
        raise BadOutcome("no outcome of a run: there is no format")
    if (version := fields.pop("format")) != FORMAT_VERSION:
        raise BadOutcome(f"the outcome has format {version!r:.80}, this version of moefuzz reads {FORMAT_VERSION}")
    outcome: RunOutcome = _read(RunOutcome, fields, "outcome")
    return outcome


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadOutcome(f"no JSON: {type(error).__name__}: {error}") from None


def _plain(value: Any) -> Any:
    """Return the value with texts in place of the numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, float) and str(value) in _NO_NUMBERS else value


def _read(kind: Any, value: Any, where: str) -> Any:
    """Return the value as a field's type. Raises BadOutcome, which names the field as ``where``."""
    if dataclasses.is_dataclass(kind):
        return _read_fields(kind, value, where)
    if get_origin(kind) is UnionType:
        return None if value is None else _read(get_args(kind)[0], value, where)
    if get_origin(kind) is tuple:
        return _read_tuple(get_args(kind), value, where)
    if kind is float and (type(value) is int or value in _NO_NUMBERS):
        return _float(value, where)
    if type(value) is not kind:
        raise BadOutcome(f"{where}: {value!r:.80} is no {kind.__name__}")
    return value


def _read_fields(kind: Any, value: Any, where: str) -> Any:
    hints = get_type_hints(kind)
    if not isinstance(value, dict):
        raise BadOutcome(f"{where}: {value!r:.80} is no object")
    if different := sorted(hints.keys() ^ value.keys()):
        raise BadOutcome(f"{where}: {different[0]!r:.80} is {'missing' if different[0] in hints else 'not known'}")
    return kind(**{name: _read(hint, value[name], f"{where}.{name}") for name, hint in hints.items()})


def _read_tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise BadOutcome(f"{where}: {value!r:.80} is no list")
    of_each = [kinds[0]] * len(value) if kinds[-1] is ... else list(kinds)
    if len(of_each) != len(value):
        raise BadOutcome(f"{where}: {value!r:.80} has not {len(of_each)} entries")
    return tuple(_read(kind, inner, f"{where}[{i}]") for i, (kind, inner) in enumerate(zip(of_each, value, strict=True)))


def _float(value: Any, where: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise BadOutcome(f"{where}: {value!r:.80} is no float") from None
