"""What several commands take: options, and how their values are read."""

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

WHAT = "The grouped GEMM, experts or MoE block to hold against the reference; `moefuzz targets` lists the names."


def _by_module(given: list[str] | str | None) -> list[str] | str | None:
    """The names of targets that an option has, each by its module where it names a file."""
    return [*map(without_file, given)] if isinstance(given, list) else given and without_file(given)


ONE_TARGET: dict[str, Any] = {"metavar": "NAME|FILE.py:ATTR|PKG.MOD:ATTR", "autocompletion": target_names, "callback": _by_module}
TARGET = ONE_TARGET | {"envvar": TARGET_VARIABLE}
ISOLATE = typer.Option(
    "--isolate/--no-isolate",
    help="Run cases in a process of their own, where a crash, a hang and a CUDA error are failures like any other. (default: yes)",
)
SANITIZE = typer.Option("--sanitize", help="Watch every access of Triton kernels under the interpreter: outside, uninitialised, racing.")
COVERAGE = typer.Option("--coverage", help="Print which lines, branches and masks of Triton kernels were reached, by target.")


def refuse(message: str, status: int = USAGE) -> NoReturn:
    """Print one line, and end the command."""
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
    """Return the known issues of a file, if there is one, or end the command with one line."""
    try:
        return KnownIssues() if path is None else KnownIssues.read(path)
    except BadKnownIssues as error:
        refuse(str(error))
