"""What ``moefuzz replay`` and ``moefuzz report`` are asked for: a case as text, or a report by its ID, its folder or a folder of them."""

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
    """A text that names no case; the text is one line."""


def named_case(text: str) -> tuple[Case, Report | None]:
    """A case, and the report in which it stands. Raises NoCase."""
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
    """The folder of a report that is named by its path or by its ID."""
    return Path(reports_folder(), text) if re.fullmatch("[0-9a-f]{8}", text) and not Path(text).exists() else Path(text)


def _only_report(text: str) -> Path:
    """The folder or file of the report that is meant. Raises NoCase where it is none or one of several."""
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
    except (OSError, ValueError):  # no name that a file can have
        return False


def _short(text: str, length: int = 240) -> str:
    """In one line, and no longer."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return line if len(line) <= length else f"{line[: length - 1]}…"
