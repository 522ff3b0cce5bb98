"""A corpus: cases worth keeping of one or several runs, a line of JSON each, to be committed and run again as regression tests.

It has the smallest case of each report, and of all others that met something new as few as cover every label that any of them covers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from moefuzz.harness.cases import Case, case_from_json
from moefuzz.harness.configured import Configured
from moefuzz.harness.exit_codes import FOUND
from moefuzz.harness.failures import Failure
from moefuzz.harness.options import TARGET, WHAT, named_target, refuse
from moefuzz.harness.reports import Report, read_all
from moefuzz.harness.target_names import OWN_TARGETS

from .behaviours import labels
from .events import BadRun, events_of, info_of, list_of
from .words import several

app = typer.Typer(no_args_is_help=True, help="Collect the cases worth keeping of long runs, and run them again.")


class BadCorpus(Exception):
    """A file that holds no cases; the text is one line."""


def collected(runs: Sequence[Path]) -> dict[Case, str]:
    """Cases, and why each is kept. Raises BadRun."""
    kept: dict[Case, str] = {}
    for run in runs:
        info_of(run)
        for report in read_all(run / "reports"):
            if isinstance(report, Report):
                kept.setdefault(report.case, f"{report.title} in {report.target}")
    met: dict[Case, None] = {}
    for run in runs:
        for event in events_of(run):
            for plain in list_of(event.get("interesting")) if event["kind"] == "turn" else ():
                try:
                    met[case_from_json(json.dumps(plain))] = None
                except (ValueError, TypeError):  # of another version
                    continue
    covered = {(case.level, label) for case in kept for label in labels(case)}
    for case in sorted(met, key=lambda case: len(repr(case))):
        new = {(case.level, label) for label in labels(case)} - covered
        if new and case not in kept:
            kept[case] = "first with " + ", ".join(sorted(f"{field} {label}" for _, (field, label) in new))
            covered |= new
    return kept


def read_corpus(file: Path) -> list[Case]:
    """The cases of a file. Raises BadCorpus."""
    cases: list[Case] = []
    number = 0
    try:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):  # noqa: B007 - said of a bad line
            if line.strip():
                cases.append(case_from_json(json.dumps(json.loads(line)["case"])))
    except (OSError, UnicodeDecodeError) as error:
        raise BadCorpus(f"corpus {file}: {getattr(error, 'strerror', None) or error}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadCorpus(f"corpus {file}, line {number}: {type(error).__name__}: {error}") from None
    return cases


@app.command("collect")
def collect_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of long runs.")],
    into: Annotated[Path, typer.Option("--into", metavar="FILE", help="A line of JSON for each case.")] = Path("corpus.ndjson"),
) -> None:
    """Write the cases worth keeping of long runs into a file, which can be committed. Exit code 2: no run, or no place for the file."""
    try:
        kept = collected(runs)
        lines = [json.dumps({"why": why, "case": json.loads(case.to_json())}) + "\n" for case, why in kept.items()]
        into.write_text("".join(lines), encoding="utf-8")
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
    """Run every case of a corpus, each in a process of its own if need be. Exit code 0: all are right, 1: some fail, 2: wrong usage.

    `pytest --moe-corpus FILE` does the same, a test for each case.
    """
    from moefuzz.harness.isolation import isolated
    from moefuzz.harness.verdict import failure_of

    try:
        cases = read_corpus(file)
    except BadCorpus as error:
        refuse(str(error))
    if not cases:
        refuse(f"corpus {file} holds no case")
    targets = [named_target(spec) for spec in target or [own[0] for own in OWN_TARGETS.values()]]
    ran, failed = 0, list[Failure]()
    with isolated():
        for case in track(cases, "corpus", transient=True):
            for one in targets:
                if one.level == case.level and one.takes(case):
                    ran += 1
                    failed += _failures(failure_of(case, one))
    for failure in failed:
        typer.echo(f"{failure}\n")
    typer.echo(f"{several(len(failed), 'failure')} in {several(ran, 'call')} of {several(len(cases), 'case')}")
    raise typer.Exit(FOUND if failed else 0)


def _failures(failure: Failure | None) -> Iterable[Failure]:
    return () if failure is None else (failure,)
