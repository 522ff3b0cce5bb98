"""A project's defaults for the command and for pytest, ``[tool.moefuzz]`` of its pyproject.toml; options and variables override them.

    [tool.moefuzz]
    targets = ["mine:target"]       # as --target, given several times
    time = "30s"                    # as --time
    known-issues = "known.toml"     # as --known-issues
    report-dir = "moefuzz-reports"  # as --report-dir

Relative paths are relative to the file, and its folder is searched for modules.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .durations import BadDuration, duration
from .suggestions import did_you_mean, in_a_row

_KEYS = ("targets", "time", "known-issues", "report-dir")


class BadSettings(Exception):
    """Settings that cannot be used; the text is one line that names the place and the reason."""


@dataclass(frozen=True)
class ProjectSettings:
    """The settings of a project; those that it does not set are None or empty. Paths can be opened from the working directory."""

    file: Path | None = None
    targets: tuple[str, ...] = ()
    time: str | None = None
    known_issues: Path | None = None
    report_dir: Path | None = None


def project_settings() -> ProjectSettings:
    """Read the nearest pyproject.toml with the table, in the working directory or above; return its settings. Raises BadSettings."""
    for folder in _here():
        file = folder / "pyproject.toml"
        try:
            text = file.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise BadSettings(f"{file}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise BadSettings(f"{file}: {error}") from None
        table = _table(file, text) if "moefuzz" in text else None
        if table is not None:
            return _read(file, table)
    return ProjectSettings()


def module_folders() -> list[str]:
    """Return the folders searched for the module of a target beside Python's own: the working directory and that of the settings."""
    try:
        file = project_settings().file
    except BadSettings:  # the command reports it
        file = None
    here = _here()[:1]
    return [str(folder) for folder in ([*here, file.parent] if file and file.parent not in here else here)]


def _here() -> list[Path]:
    try:
        return [Path.cwd(), *Path.cwd().parents]
    except FileNotFoundError:  # the working directory was removed
        return []


def _table(file: Path, text: str) -> object:
    """Return the table, unchecked; None where there is none. Raises BadSettings."""
    try:
        tool = tomllib.loads(text).get("tool", {})
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadSettings(f"{file}: {error}") from None
    return tool.get("moefuzz") if isinstance(tool, dict) else None


def _read(file: Path, table: object) -> ProjectSettings:
    where = f"{file}, [tool.moefuzz]"
    if not isinstance(table, dict):
        raise BadSettings(f"{where} must be a table")
    for key, value in table.items():
        if key not in _KEYS:
            raise BadSettings(f"{where}: no key {key!r}{did_you_mean(key, _KEYS) or '; keys are ' + in_a_row(_KEYS)}")
        texts = value if key == "targets" else [value]
        if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
            raise BadSettings(f"{where}: {key} must be a {'list of texts' if key == 'targets' else 'text'}, got {value!r}"[:300])
    return ProjectSettings(
        file, tuple(table.get("targets", ())), _time(where, table), _path(file, table, "known-issues"), _path(file, table, "report-dir")
    )


def _time(where: str, table: dict[str, Any]) -> str | None:
    try:
        return table["time"] if "time" in table and duration(table["time"]) else None
    except BadDuration as error:
        raise BadSettings(f"{where}: time {error}") from None


def _path(file: Path, table: dict[str, Any], key: str) -> Path | None:
    return Path(os.path.relpath(file.parent / table[key])) if key in table else None
