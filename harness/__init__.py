"""Cases, targets and the verdict. What is public stands in ``__all__`` and is imported when it is asked for: the pytest plugin, which is
loaded in every project that has moefuzz installed, lives here too.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import aliases

if TYPE_CHECKING:
    from .base.case_text import case_from_json, case_from_repr
    from .failures import Failure
    from .levels.experts.case import ExpertsCase
    from .levels.grouped_gemm.case import GroupedGemmCase
    from .levels.moe_block.case import MoeBlockCase
    from .sanitizer import CannotSanitize, Finding, sanitize
    from .targets import BadTarget, Target
    from .targets.registry import load_target
    from .verdict.check import Agreement, check, failure_of
    from .verdict.known_issues import KnownIssues, in_force

_HOMES = {
    "failures": ("Failure",),
    "levels.cases": ("ExpertsCase", "GroupedGemmCase", "MoeBlockCase", "case_from_json", "case_from_repr"),
    "sanitizer": ("CannotSanitize", "Finding", "sanitize"),
    "targets": ("BadTarget", "Target"),
    "targets.registry": ("load_target",),
    "verdict.check": ("Agreement", "check", "failure_of"),
    "verdict.known_issues": ("KnownIssues", "in_force"),
}
__all__ = [
    "Agreement",
    "BadTarget",
    "CannotSanitize",
    "ExpertsCase",
    "Failure",
    "Finding",
    "GroupedGemmCase",
    "KnownIssues",
    "MoeBlockCase",
    "Target",
    "case_from_json",
    "case_from_repr",
    "check",
    "failure_of",
    "in_force",
    "load_target",
    "sanitize",
]


aliases.install()

if not TYPE_CHECKING:  # a type checker knows the names, and that there are no others

    def __getattr__(name: str) -> Any:
        home = next((home for home, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{home}"), name)
