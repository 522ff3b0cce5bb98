"""``moefuzz corpus``: collect cases of long runs that are worth keeping, and run them again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from moefuzz.harness.base.exit_codes import FOUND, NOTHING_RAN
from moefuzz.harness.base.text import several
from moefuzz.harness.campaign.corpus import BadCorpus, collected, read_kept
from moefuzz.harness.failures import Failure
from moefuzz.harness.run_log.events import BadRun
from moefuzz.harness.targets.registry import OWN_TARGETS

from .configured import Configured
from .options import TARGET, WHAT, named_target, refuse

app = typer.Typer(no_args_is_help=True, help="Collect cases of long runs that are worth keeping, and run them again.")


@app.command("collect")
def collect_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of long runs.")],
    into: Annotated[Path, typer.Option("--into", metavar="FILE", help="The corpus to write, with a line of JSON for each case.")] = Path(
        "corpus.ndjson"
    ),
) -> None:
    """Write cases of long runs that are worth keeping into a file to commit.

    Exit code 2: a folder is no run, or FILE cannot be written.
    """
    try:
        kept = collected(runs)
        into.write_text("".join(f"{one.to_json()}\n" for one in kept), encoding="utf-8")
    except BadRun as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"{error.filename or into}: {error.strerror}")
    typer.echo(f"{several(len(kept), 'case')} in {into}")


@app.command("check", cls=Configured)
def check_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A corpus.")],
    target: Annotated[list[str] | None, typer.Option("--target", "-t", help=WHAT, **TARGET)] = None,
) -> None:
    """Run every case of a corpus in a separate process, on --target, or on the targets that its line names.

    Exit code 0: all pass, 1: some fail, 2: wrong usage, 5: no case fits any target. `pytest --moe-corpus FILE` does the same, with one test
    for each case.
    """
    from moefuzz.harness.verdict.check import failure_of
    from moefuzz.harness.verdict.isolation import isolated

    try:
        kept = read_kept(file)
    except BadCorpus as error:
        refuse(str(error))
    if not kept:
        refuse(f"corpus {file} holds no case")
    ours = [own[0] for own in OWN_TARGETS.values()]
    specs = {one.case: target or list(one.targets) or ours for one in kept}
    targets = {spec: named_target(spec) for spec in dict.fromkeys(spec for each in specs.values() for spec in each)}
    typer.echo(f"{several(len(kept), 'case')} on {', '.join(targets)}")
    ran, failed = 0, list[Failure]()
    with isolated():
        for one in track(kept, "corpus", transient=True):
            for on in (targets[spec] for spec in specs[one.case]):
                if on.level == one.case.level and on.takes(one.case):
                    ran += 1
                    failed += _failures(failure_of(one.case, on))
    for failure in failed:
        typer.echo(f"{failure}\n")
    typer.echo(f"{several(len(failed), 'failure')} in {several(ran, 'call')} of {several(len(kept), 'case')}")
    raise typer.Exit(FOUND if failed else 0 if ran else NOTHING_RAN)


def _failures(failure: Failure | None) -> Iterable[Failure]:
    return () if failure is None else (failure,)
