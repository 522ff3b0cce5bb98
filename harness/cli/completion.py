"""Shell completion: names of targets, and IDs of reports in the working directory. It neither imports nor runs any target."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from moefuzz.harness.base.project_settings import BadSettings, project_settings
from moefuzz.harness.report.folder import DEFAULT
from moefuzz.harness.targets.registry import named_targets


def target_names(incomplete: str) -> list[str]:
    """Return the installed names that begin with this text."""
    return sorted(name for name in named_targets() if name.startswith(incomplete))


def report_ids(incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield the report IDs that begin with this text, each with its failure and target, from the project's folder of reports."""
    try:
        folder = project_settings().report_dir or Path(DEFAULT)
    except BadSettings:
        return
    for file in sorted(folder.glob("*/case.json")):
        if file.parent.name.startswith(incomplete):
            yield file.parent.name, _said_of(file)


def _said_of(file: Path) -> str:
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
        return f"{fields['kind']} in {fields['target']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "cannot be read"
