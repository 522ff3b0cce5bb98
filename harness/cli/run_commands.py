"""The commands that read the folders of long runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moefuzz.harness.base.text import several
from moefuzz.harness.cli.options import refuse
from moefuzz.harness.run_log.events import BadRun
from moefuzz.harness.run_log.merge import merge


def summary_command(run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, which may still go on.")]) -> None:
    """Write the page of a long run, RUN/summary.html, and name it: what was found, what was covered, how long it took.

    Exit code 0, whatever was found; 2: there is no such run, or it cannot be written.
    """
    from moefuzz.harness.report.summary import verdict, write_summary  # matplotlib, which no other command waits for
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
    into: Annotated[Path, typer.Option("--into", metavar="FOLDER", help="Where all of them together are written; there must be nothing.")],
) -> None:
    """Make one run folder of those of several hosts: events, reports and what was started, each once.

    Exit code 2: one of them is no run, or FOLDER is not empty.
    """
    try:
        merge(runs, into)
    except BadRun as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"{error.filename or into}: {error.strerror}")
    typer.echo(f"{several(len(runs), 'run')} in {into}; moefuzz summary {into} writes the page")
