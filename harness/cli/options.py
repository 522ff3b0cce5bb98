"""Options of several commands, and how their values are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import typer

from moefuzz.harness.base.durations import MOST_HOURS, BadDuration, duration
from moefuzz.harness.base.environment import TARGET_VARIABLE
from moefuzz.harness.base.exit_codes import USAGE
from moefuzz.harness.base.suggestions import without_file
from moefuzz.harness.targets import BadTarget, Target
from moefuzz.harness.targets.registry import load_target
from moefuzz.harness.verdict.known_issues import BadKnownIssues, KnownIssues

from .completion import target_names

WHAT = "The grouped GEMM, experts or MoE block to test; `moefuzz targets` lists the names."


def _by_module(given: list[str] | str | None) -> list[str] | str | None:
    """Return the names of targets that an option has; a name with a file becomes one with a module."""
    return [*map(without_file, given)] if isinstance(given, list) else given and without_file(given)


ONE_TARGET: dict[str, Any] = {"metavar": "NAME|FILE.py:ATTR|PKG.MOD:ATTR", "autocompletion": target_names, "callback": _by_module}
TARGET = ONE_TARGET | {"envvar": TARGET_VARIABLE}
ISOLATE = typer.Option(
    "--isolate/--no-isolate",
    help="Run cases in a worker process, so that a crash, a hang or a CUDA error is a failure like any other. (default: yes)",
)
SANITIZE = typer.Option(
    "--sanitize", help="Check each memory access of Triton kernels under the interpreter: out of bounds, uninitialised, data race."
)
COVERAGE = typer.Option("--coverage", help="Print, by target, which lines, branches and masks of Triton kernels were reached.")


def refuse(message: str, status: int = USAGE) -> NoReturn:
    """Print one line on standard error, and end the command with this status."""
    typer.echo(f"moefuzz: {message}", err=True)
    raise typer.Exit(status)


def seconds_of(text: str, option: str = "--time") -> float:
    """Return the seconds of an option's duration, or end the command with one line."""
    try:
        return duration(text)
    except BadDuration as error:
        refuse(f"{option} {error}")


def seconds_of_hours(hours: float) -> float:
    """Return the seconds of ``--hours``, or end the command with one line."""
    if not 0 < hours <= MOST_HOURS:
        refuse(f"--hours must be above 0 and at most {MOST_HOURS} (ten years), got {hours}")
    return 3600 * hours


def named_target(spec: str) -> Target:
    """Return the target of a name, or end the command with one line."""
    try:
        return load_target(spec)
    except BadTarget as error:
        refuse(str(error))


def named_issues(path: Path | None) -> KnownIssues:
    """Return the known issues of a file, or none without a file; end the command with one line if it cannot be read."""
    try:
        return KnownIssues() if path is None else KnownIssues.read(path)
    except BadKnownIssues as error:
        refuse(str(error))
