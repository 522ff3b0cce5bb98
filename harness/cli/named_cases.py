"""Read the argument of ``moefuzz replay`` and ``moefuzz report``: a case as text, or a report by ID, folder or folder of reports."""

from __future__ import annotations

import os
import re
from pathlib import Path

from moefuzz.harness.base.case import Case
from moefuzz.harness.base.case_text import case_from_json, case_from_repr
from moefuzz.harness.report.folder import BadReport, Report, read, reports_in

from .configured import reports_folder

_LISTED = 20


class NoCase(Exception):
    """Raised for an argument that names no case; the text is one line."""


def named_case(text: str) -> tuple[Case, Report | None]:
    """Return the case that a text names, and the report that holds it, if any. Raises NoCase."""
    try:
        if text.lstrip().startswith("{"):
            return case_from_json(text), None
        if "(" in text and not _exists(text):
            return case_from_repr(text), None
        report = read(_only_report(text))
    except BadReport as error:
        raise NoCase(_short(str(error))) from None
    except (ValueError, OverflowError, MemoryError, RecursionError) as error:
        raise NoCase(_short(f"no case: {error}")) from None
    return report.case, report


def named_report(text: str) -> Path:
    """Return the folder of a report that is named by its path or its ID."""
    return Path(reports_folder(), text) if re.fullmatch("[0-9a-f]{8}", text) and not Path(text).exists() else Path(text)


def _only_report(text: str) -> Path:
    """Return the folder or file of the report that a text names. Raises NoCase if there is none or more than one."""
    if "\0" in text or not text.strip() or len(os.fsencode(text)) > os.pathconf("/", "PC_PATH_MAX"):
        raise NoCase(f"no case and no report: {_short(repr(text), 60)}")
    path = named_report(text)
    if not _exists(str(path)):
        raise NoCase(f"{_short(str(path))}: no such report, nor a case like GroupedGemmCase(m_sizes=(1,))")
    if path.is_file() or (path / "case.json").exists():
        return path
    folder = reports_in(path)
    found = [file.parent for file in sorted(folder.glob("*/case.json"))]
    if not found:
        raise NoCase(f"no report in {folder}")
    if len(found) > 1:
        more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise NoCase(f"{folder} holds {len(found)} reports, give one of them: {', '.join(one.name for one in found[:_LISTED])}{more}")
    return found[0]


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # not a valid file name
        return False


def _short(text: str, length: int = 240) -> str:
    """Return the text on one line, cut to ``length`` characters."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return line if len(line) <= length else f"{line[: length - 1]}…"
