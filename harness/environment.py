"""The environment variables that moefuzz reads."""

from __future__ import annotations

import os
from pathlib import Path

TARGET_VARIABLE = "MOEFUZZ_TARGET"
KNOWN_ISSUES_VARIABLE = "MOEFUZZ_KNOWN_ISSUES"
CORPUS_VARIABLE = "MOEFUZZ_CORPUS"
VARIABLES = (TARGET_VARIABLE, KNOWN_ISSUES_VARIABLE, CORPUS_VARIABLE)


def unknown_variables() -> list[str]:
    """Variables that look like ours and are not: typing errors."""
    return sorted(name for name in os.environ if name.startswith("MOEFUZZ_") and name not in VARIABLES)


def why_not_writable(folder: Path) -> str:
    """Why no report can be written into a folder, which need not exist yet; empty if one can."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        return f"{nearest} is no folder"
    return "" if os.access(nearest, os.W_OK | os.X_OK) else f"{nearest} cannot be written to"
