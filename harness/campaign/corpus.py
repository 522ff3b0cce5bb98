"""A corpus: cases of one or several runs that are worth keeping as regression tests, one line of JSON each.

It holds the smallest case of each report, and of the other cases that covered a new label as few as cover all labels of these.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from moefuzz.harness.base.case import Case
from moefuzz.harness.base.case_text import case_from_json
from moefuzz.harness.base.text import printable
from moefuzz.harness.report.folder import Report, read_all
from moefuzz.harness.run_log.events import events_of, info_of, list_of

from .novelty import labels


class BadCorpus(Exception):
    """Raised for a file that is not a corpus; the text is one line."""


@dataclass(frozen=True)
class Kept:
    """A case of a corpus, the names of the targets that it was drawn for, and why it is kept."""

    case: Case
    targets: tuple[str, ...] = ()
    why: str = ""

    def to_json(self) -> str:
        return json.dumps({"why": self.why, "targets": self.targets, "case": json.loads(self.case.to_json())})


def collected(runs: Sequence[Path]) -> list[Kept]:
    """Return the cases of these runs that are worth keeping. Raises BadRun."""
    why: dict[Case, str] = {}
    targets = defaultdict[Case, dict[str, None]](dict)
    for run in runs:
        info_of(run)
        for report in read_all(run / "reports"):
            if isinstance(report, Report):
                why.setdefault(report.case, f"{report.title} in {report.target}")
                targets[report.case][report.target] = None
    met: dict[Case, None] = {}
    for run in runs:
        for event in events_of(run):
            for plain in list_of(event.get("interesting")) if event["kind"] == "turn" else ():
                try:
                    case = case_from_json(json.dumps(plain))
                except (ValueError, TypeError):  # written by another version
                    continue
                met[case] = None
                targets[case][printable(str(event.get("target", "")))] = None
    covered = {(case.level, label) for case in why for label in labels(case)}
    for case in sorted(met, key=lambda case: len(repr(case))):
        new = {(case.level, label) for label in labels(case)} - covered
        if new and case not in why:
            why[case] = "first with " + ", ".join(sorted(f"{field} {label}" for _, (field, label) in new))
            covered |= new
    return [Kept(case, tuple(filter(None, targets[case])), reason) for case, reason in why.items()]


def read_kept(file: Path) -> list[Kept]:
    """Return the entries of a corpus file. Raises BadCorpus."""
    kept: list[Kept] = []
    number = 0
    try:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):  # noqa: B007 - used in the message on a bad line
            if line.strip():
                said = json.loads(line)
                targets = tuple(name for name in list_of(said.get("targets")) if isinstance(name, str))
                kept.append(Kept(case_from_json(json.dumps(said["case"])), targets))
    except (OSError, UnicodeDecodeError) as error:
        raise BadCorpus(f"corpus {file}: {getattr(error, 'strerror', None) or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadCorpus(f"corpus {file}, line {number}: {type(error).__name__}: {error}") from None
    return kept


def read_corpus(file: Path) -> list[Case]:
    """Return the cases of a corpus file. Raises BadCorpus."""
    return [kept.case for kept in read_kept(file)]
