"""The documents that ``moefuzz fuzz --format`` prints, each made from the outcome of a run alone."""

from __future__ import annotations

from collections.abc import Callable

from moefuzz.harness.run_log.outcome import RunOutcome

from . import github, json_document, junit, sarif

_DOCUMENTS: dict[str, Callable[[RunOutcome], str]] = {
    "json": json_document.document,
    "junit": junit.document,
    "sarif": sarif.document,
    "github": github.commands,
}
FORMATS = ("text", *_DOCUMENTS)


def rendered(outcome: RunOutcome, format: str) -> str:  # noqa: A002  (the name of the option)
    """Return the document of one of ``FORMATS``, with its last newline; "" for "text", which is printed during the run."""
    return "" if format == "text" else _DOCUMENTS[format](outcome)
