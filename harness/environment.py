"""The environment variables that moefuzz reads."""

from __future__ import annotations

import os

TARGET_VARIABLE = "MOEFUZZ_TARGET"
KNOWN_ISSUES_VARIABLE = "MOEFUZZ_KNOWN_ISSUES"
VARIABLES = (TARGET_VARIABLE, KNOWN_ISSUES_VARIABLE)


def unknown_variables() -> list[str]:
    """Variables that look like ours and are not: typing errors."""
    return sorted(name for name in os.environ if name.startswith("MOEFUZZ_") and name not in VARIABLES)
