"""What several commands take: options, and how their values are read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn

import typer

from .completion import target_names
from .environment import TARGET_VARIABLE
from .exit_codes import USAGE
from .known_issues import BadKnownIssues, KnownIssues
from .target_names import load_target
from .targets import BadTarget, Target

WHAT = "The grouped GEMM, experts or MoE block to hold against the reference; `moefuzz targets` lists the names."
ONE_TARGET: dict[str, Any] = {"metavar": "NAME|PKG.MOD:ATTR", "autocompletion": target_names}
TARGET = ONE_TARGET | {"envvar": TARGET_VARIABLE}
ISOLATE = typer.Option(
    "--isolate/--no-isolate",
    help="Run cases in a process of their own, where a crash, a hang and a CUDA error are failures like any other. (default: yes)",
)
SANITIZE = typer.Option("--sanitize", help="Watch every access of Triton kernels under the interpreter: outside, uninitialised, racing.")
COVERAGE = typer.Option("--coverage", help="Print which lines, branches and masks of Triton kernels were reached, by target.")


def refuse(message: str, status: int = USAGE) -> NoReturn:
    """One line, and the end."""
    typer.echo(f"moefuzz: {message}", err=True)
    raise typer.Exit(status)


class BadDuration(Exception):
    """A text that is no duration."""


def duration(text: str) -> float:
    """Seconds of a duration like 90s, 2m or 1h. Raises BadDuration.

    >>> duration("1.5m")
    90.0
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|)", text.strip())
    if match is None or float(match[1]) == 0:
        raise BadDuration(f"must be a duration like 90s, 2m or 1h, got {text!r}")
    return float(match[1]) * {"s": 1, "": 1, "m": 60, "h": 3600}[match[2]]


def seconds_of(text: str, option: str = "--time") -> float:
    """Seconds of an option's duration, or the end with one line."""
    try:
        return duration(text)
    except BadDuration as error:
        refuse(f"{option} {error}")


def named_target(spec: str) -> Target:
    """The target of a name, or the end with one line."""
    try:
        return load_target(spec)
    except BadTarget as error:
        refuse(str(error))


def named_issues(path: Path | None) -> KnownIssues:
    """Those of a file, if there is one, or the end with one line."""
    try:
        return KnownIssues() if path is None else KnownIssues.read(path)
    except BadKnownIssues as error:
        refuse(str(error))
