"""The environment variables that moefuzz reads."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

TARGET_VARIABLE = "MOEFUZZ_TARGET"
KNOWN_ISSUES_VARIABLE = "MOEFUZZ_KNOWN_ISSUES"
CORPUS_VARIABLE = "MOEFUZZ_CORPUS"
VARIABLES = (TARGET_VARIABLE, KNOWN_ISSUES_VARIABLE, CORPUS_VARIABLE)


def unknown_variables() -> list[str]:
    """Return environment variables that start with MOEFUZZ_ and are unknown, such as typing errors."""
    return sorted(name for name in os.environ if name.startswith("MOEFUZZ_") and name not in VARIABLES)


def warnings() -> list[str]:
    """Return a warning, of one line, for each unknown variable."""
    return [f"WARNING: unknown environment variable {name}; known are {', '.join(VARIABLES)}" for name in unknown_variables()]


def why_not_writable(folder: Path) -> str:
    """Return why a folder, which need not exist yet, is not writable; empty if it is. The test write leaves no trace."""
    try:
        folder.exists()  # raises for a name that no folder can have
        nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
        if not nearest.is_dir():
            return f"{nearest} is no folder"
        with tempfile.TemporaryDirectory(prefix=".moefuzz-", dir=nearest) as tried:
            Path(tried, "tried").touch()
    except OSError as error:
        return f"cannot be written to: {error.strerror}"
    return ""
