"""``moefuzz sanitize``: run a user's script under the sanitizer."""

from __future__ import annotations

import os
import runpy
import sys
import traceback
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import Annotated

import typer

from moefuzz.harness.base.exit_codes import FOUND, USAGE

from .options import refuse


def sanitize_command(
    script: Annotated[Path, typer.Argument(metavar="SCRIPT", help="A Python file that launches Triton kernels on CPU tensors.")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[ARGUMENTS]...", help="Arguments of the script, after --.")] = None,
    *,
    written_twice: Annotated[bool, typer.Option("--written-twice", help="Also report memory that two stores of a launch write.")] = False,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Print which lines, branches and masks of the kernels were reached.")
    ] = False,
) -> None:
    """Run a script under Triton's interpreter, and check each memory access of its kernels (docs/guide/sanitizer.md).

    Exit code 0: nothing found, 1: findings, 2: the script cannot run.
    """
    os.environ["TRITON_INTERPRET"] = "1"  # Triton reads it when a kernel is decorated
    from rich.console import Console

    from moefuzz.harness.sanitizer import CannotSanitize, Findings, sanitize
    from moefuzz.harness.sanitizer.coverage import coverage as covered

    if not script.is_file():
        refuse(f"there is no file {script}")
    sys.argv, sys.path[0:0] = [str(script), *(arguments or [])], [str(script.parent)]
    findings, reached, failed = Findings(), None, ""
    try:
        with covered() if coverage else nullcontext() as reached, sanitize(written_twice=written_twice) as findings:
            try:
                runpy.run_path(str(script), run_name="__main__")
            except SystemExit as end:
                failed = f"{script} ended with exit status {end.code}" if end.code else ""
            except (CannotSanitize, KeyboardInterrupt):
                raise
            except BaseException as error:  # a finding may explain what ended the script
                traceback.print_exception(error.with_traceback(_from(script, error.__traceback__)))
                failed = f"{script} raised {type(error).__name__}"
    except CannotSanitize as error:
        failed = str(error)
    for finding in findings:
        typer.echo(f"{finding}\n")
    if reached is not None:
        Console().print(reached.table())
    if findings:
        typer.echo(f"{len(findings)} finding{'s' * (len(findings) > 1)}")
    else:
        typer.echo("nothing found" + (" until then" if failed else "" if findings.launches else ": no Triton kernel was launched"))
    if failed:
        typer.echo(f"moefuzz: {failed}", err=True)
    raise typer.Exit(USAGE if failed else FOUND if findings else 0)


def _from(script: Path, frames: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback that begins in the script."""
    while frames is not None and frames.tb_frame.f_code.co_filename != str(script):
        frames = frames.tb_next
    return frames
