"""A run as SARIF 2.1.0, for GitHub's code scanning and other viewers: a rule for each kind of failure, a result for each failure.

It is written without a library: sarif-om was last released in 2019 and needs attrs and pbr, and sarif-pydantic needs pydantic. Neither
checks its output against the schema; tests check this document against the rules of the schema.

GitHub needs a file, a line and a column for each result, and distinguishes two results by ``primaryLocationLineHash`` alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from importlib.metadata import metadata
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from moefuzz.harness.base.text import printable
from moefuzz.harness.run_log.outcome import ReportedFailure, RunOutcome

from .places import Place, below_root, place_of, root
from .texts import headline, lines, report_page, verdict

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
KINDS = {
    "WrongValue": "A finite number that no right computation gives.",
    "NonFinite": "NaN or infinity where every right result is finite.",
    "WrongShape": "Another shape or dtype than the contract's.",
    "WrongRouting": "Another expert was chosen although the logits are further apart than their bounds.",
    "GradMissing": "An input that requires grad was left without one.",
    "NotWritten": "Elements still hold what the memory held before the call.",
    "InputModified": "An input holds other bits after the call.",
    "NonDeterministic": "Other bits from the same call.",
    "BrokenRelation": "Other bits from a call that must give the same.",
    "NotRefused": "A case outside the declaration was neither refused with an exception nor computed right.",
    "Raised": "The target raised an exception on a case inside its declaration.",
    "WroteOutside": "A store outside of the memory that was allocated.",
    "ReadOutside": "A load from outside of the memory that was allocated.",
    "OutOfBounds": "An access of a Triton kernel outside of its tensors.",
    "UninitialisedRead": "A Triton kernel reads memory that was never written.",
    "Race": "Two programs of a Triton kernel race for a byte.",
    "ThreadLeft": "A thread that the target started keeps the process of its caller from ending.",
    "Crash": "The process in which the target ran ended.",
    "Hang": "The target had not returned after the time that a case may take.",
    "CudaError": "The device answers no more.",
    "Unreproducible": "A failure that the same case did not show again.",
}
"""What each kind of failure means, by the first word of its name in a report."""


def document(outcome: RunOutcome) -> str:
    """Return the outcome as a SARIF log with one run."""
    kinds = list(dict.fromkeys([*KINDS, *map(_kind, outcome.failures)]))
    run = {
        "tool": {"driver": _driver(kinds)},
        "invocations": [_invocation(outcome)],
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"%SRCROOT%": {"uri": root().as_uri().rstrip("/") + "/"}},
        "results": [_result(failure, kinds) for failure in outcome.failures],
        "properties": {"device": printable(outcome.device), "versions": printable(outcome.versions), "seed": str(outcome.seed)},
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _kind(failure: ReportedFailure) -> str:
    """Return the first word of the failure's kind: the rest may come from the target, as in "Raised ValueError"."""
    return printable(failure.kind).partition(" ")[0]


def _driver(kinds: list[str]) -> dict[str, Any]:
    about = metadata("moefuzz")
    pages = dict(url.split(", ", 1) for url in about.get_all("Project-URL") or [])
    page = pages.get("Documentation") or pages.get("Homepage")
    rules = [_rule(kind, {"helpUri": page} if page else {}) for kind in kinds]
    return {"name": "moefuzz", "version": about["Version"], **({"informationUri": page} if page else {}), "rules": rules}


def _rule(kind: str, page: dict[str, str]) -> dict[str, Any]:
    said = KINDS.get(kind, f"A failure of the kind {kind}.")[:1024]
    return {
        "id": f"moefuzz/{kind}",
        "name": kind[:255],
        "shortDescription": {"text": said},
        "fullDescription": {"text": said},
        "help": {"text": f"{said} The report of a failure has its smallest case, and the command that runs this case again."},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["correctness"], "precision": "very-high", "problem.severity": "error"},
        **page,
    }


def _invocation(outcome: RunOutcome) -> dict[str, Any]:
    notes = [verdict(outcome), *map(printable, outcome.notes)]
    return {
        "executionSuccessful": outcome.status in (0, 1),
        "exitCode": outcome.status,
        "toolExecutionNotifications": [{"level": "note", "message": {"text": _unlinked(note)}} for note in notes],
    }


def _result(failure: ReportedFailure, kinds: list[str]) -> dict[str, Any]:
    page = report_page(failure)
    said = [
        f"{headline(failure)}: {failure.finding}",
        f"case: {failure.case}",
        f"replay: {failure.replay}",
        f"report: {page}" if page else "",
    ]
    properties = {name: lines(getattr(failure, name)) for name in ("target", "level", "regime", "case", "replay")}
    return {
        "ruleId": f"moefuzz/{_kind(failure)}",
        "ruleIndex": kinds.index(_kind(failure)),
        "level": "error",
        "message": {"text": _unlinked("\n".join(map(printable, filter(None, said))))},
        "locations": [{"physicalLocation": _physical(_place(failure))}],
        "partialFingerprints": {"primaryLocationLineHash": _fingerprint(failure)},
        "properties": {**properties, "report": page},
    }


def _unlinked(text: str) -> str:
    """Return a message without links, into which a viewer turns [text](address)."""
    return text.replace("](", "] (")


def _place(failure: ReportedFailure) -> Place:
    """Return where the target is defined; if that is not in the checkout, its report, or else a file name made from its name."""
    if place := place_of(failure.target):
        return place
    page = below_root(Path(failure.report, "report.md")) if failure.report else None
    return Place(page or printable(failure.target.partition(":")[0]).replace(".", "/") + ".py")


def _physical(place: Place) -> dict[str, Any]:
    region = {"startLine": place.line, "startColumn": 1, "endLine": place.line, "endColumn": place.end_column}
    return {"artifactLocation": {"uri": quote(os.fsencode(place.path)), "uriBaseId": "%SRCROOT%"}, "region": region}


def _fingerprint(failure: ReportedFailure) -> str:
    """Return a fingerprint that is the same for the same bug: the ID of its report, else a hash of target, kind and tensor."""
    if failure.report:
        return printable(PurePath(failure.report).name)
    bucket = json.dumps([failure.target, failure.kind, failure.tensor])
    return hashlib.sha256(bucket.encode()).hexdigest()[:16]
