"""A corpus: cases worth keeping of one or several runs, a line of JSON each, to be committed and run again as regression tests.

It has the smallest case of each report, and of all others that met something new as few as cover every label that any of them covers.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from moefuzz.harness.base.case import Case
from moefuzz.harness.base.case_text import case_from_json
from moefuzz.harness.base.exit_codes import FOUND, NOTHING_RAN
from moefuzz.harness.base.text import printable, several
from moefuzz.harness.cli.configured import Configured
from moefuzz.harness.cli.options import TARGET, WHAT, named_target, refuse
from moefuzz.harness.failures import Failure
from moefuzz.harness.report.folder import Report, read_all
from moefuzz.harness.run_log.events import BadRun, events_of, info_of, list_of
from moefuzz.harness.targets.registry import OWN_TARGETS

from .novelty import labels

app = typer.Typer(no_args_is_help=True, help="Collect the cases worth keeping of long runs, and run them again.")


class BadCorpus(Exception):
    """A file that holds no cases; the text is one line."""


@dataclass(frozen=True)
class Kept:
    """A case of a corpus: the names of the targets that it was met with, and why it is kept."""

    case: Case
    targets: tuple[str, ...] = ()
    why: str = ""

    def to_json(self) -> str:
        return json.dumps({"why": self.why, "targets": self.targets, "case": json.loads(self.case.to_json())})


def collected(runs: Sequence[Path]) -> list[Kept]:
    """Cases worth keeping. Raises BadRun."""
    why: dict[Case, str] = {}
    targets = defaultdict[Case, dict[str, None]](dict)
    for run in runs:
        info_of(run)
        for report in read_all(run / "reports"):
            if isinstance(report, Report):
                why.setdefault(report.case, f"{report.title} in {report.target}")
                targets[report.case][report.target] = None
    met: dict[Case, None] = {}
    for run in runs:
        for event in events_of(run):
            for plain in list_of(event.get("interesting")) if event["kind"] == "turn" else ():
                try:
                    case = case_from_json(json.dumps(plain))
                except (ValueError, TypeError):  # of another version
                    continue
                met[case] = None
                targets[case][printable(str(event.get("target", "")))] = None
    covered = {(case.level, label) for case in why for label in labels(case)}
    for case in sorted(met, key=lambda case: len(repr(case))):
        new = {(case.level, label) for label in labels(case)} - covered
        if new and case not in why:
            why[case] = "first with " + ", ".join(sorted(f"{field} {label}" for _, (field, label) in new))
            covered |= new
    return [Kept(case, tuple(filter(None, targets[case])), reason) for case, reason in why.items()]


def read_kept(file: Path) -> list[Kept]:
    """The lines of a file. Raises BadCorpus."""
    kept: list[Kept] = []
    number = 0
    try:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):  # noqa: B007 - said of a bad line
            if line.strip():
                said = json.loads(line)
                targets = tuple(name for name in list_of(said.get("targets")) if isinstance(name, str))
                kept.append(Kept(case_from_json(json.dumps(said["case"])), targets))
    except (OSError, UnicodeDecodeError) as error:
        raise BadCorpus(f"corpus {file}: {getattr(error, 'strerror', None) or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadCorpus(f"corpus {file}, line {number}: {type(error).__name__}: {error}") from None
    return kept


def read_corpus(file: Path) -> list[Case]:
    """The cases of a file. Raises BadCorpus."""
    return [kept.case for kept in read_kept(file)]


@app.command("collect")
def collect_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of long runs.")],
    into: Annotated[Path, typer.Option("--into", metavar="FILE", help="A line of JSON for each case.")] = Path("corpus.ndjson"),
) -> None:
    """Write the cases worth keeping of long runs into a file, which can be committed. Exit code 2: no run, or no place for the file."""
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
    """Run every case of a corpus, each in a process of its own if need be, on --target, or on the targets that its line names.

    Exit code 0: all are right, 1: some fail, 2: wrong usage, 5: no target takes any case. `pytest --moe-corpus FILE` does the same, a test
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
