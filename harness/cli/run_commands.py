"""``moefuzz summary`` and ``moefuzz merge``, which read the folders of long runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moefuzz.harness.base.text import several
from moefuzz.harness.cli.options import refuse
from moefuzz.harness.run_log.events import BadRun
from moefuzz.harness.run_log.merge import merge


def summary_command(run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a long run, finished or not.")]) -> None:
    """Write a page on the findings, coverage and duration of a long run, RUN/summary.html, and print its path.

    Exit code 0, whatever was found; 2: there is no such run, or the page cannot be written.
    """
    from moefuzz.harness.report.summary import verdict, write_summary  # it imports matplotlib, which no other command needs
    from moefuzz.harness.run_log.state import read_state

    try:
        state = read_state(run)
        page = write_summary(run, state)
    except BadRun as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"{error.filename or run}: {error.strerror}")
    typer.echo(f"{verdict(state, page.stat().st_mtime)}\n{page}")


def merge_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="The folders of the hosts' runs.")],
    into: Annotated[Path, typer.Option("--into", metavar="FOLDER", help="The folder to write; it must not exist or must be empty.")],
) -> None:
    """Merge the run folders of several hosts into one: their events, reports and settings, without duplicates.

    Exit code 2: a folder is no run, or FOLDER is not empty.
    """
    try:
        merge(runs, into)
    except BadRun as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"{error.filename or into}: {error.strerror}")
    typer.echo(f"{several(len(runs), 'run')} in {into}; moefuzz summary {into} writes the page")
