"""``moefuzz fuzz``: its options, and what can be said of them before anything large is imported."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TextIO

import typer

from moefuzz.harness.base.environment import KNOWN_ISSUES_VARIABLE, why_not_writable
from moefuzz.harness.base.limits import CASE_SECONDS
from moefuzz.harness.cli.options import COVERAGE, ISOLATE, SANITIZE, TARGET, WHAT, refuse, seconds_of, seconds_of_hours
from moefuzz.harness.report.folder import DEFAULT
from moefuzz.harness.report.formats import FORMATS
from moefuzz.harness.verdict import forkserver

from .fuzz_options import FuzzOptions

LONG, OUTPUT = "Long runs", "Output"


def fuzz_command(
    duration: Annotated[
        str | None, typer.Option("--time", metavar="DURATION", help="How long to explore, as 90s or 1h; reducing adds to it. (default: 2m)")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option("--target", "-t", help=f"{WHAT} Given several times, they take turns.", **TARGET)
    ] = None,
    regime: Annotated[
        list[str] | None,
        typer.Option("--regime", metavar="NAME", help="Draw from this regime alone, as far or tile-edge. (default: all in turn)"),
    ] = None,
    examples: Annotated[
        int | None, typer.Option("--examples", min=1, help="End after so many examples, in all; the same seed repeats the run.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Draw what a run with this seed drew. (default: by chance, printed)")
    ] = None,
    max_failures: Annotated[int | None, typer.Option("--max-failures", min=1, help="End after so many distinct failures.")] = None,
    known: Annotated[
        Path | None,
        typer.Option(
            "--known-issues", metavar="FILE", envvar=KNOWN_ISSUES_VARIABLE, help="What is reported already, and is fuzzed around."
        ),
    ] = None,
    isolate: Annotated[bool | None, ISOLATE] = None,
    case_time: Annotated[
        str | None,
        typer.Option(
            "--case-time", metavar="DURATION", help=f"How long a case may take in its process. (default: {CASE_SECONDS:.0f}s)"
        ),
    ] = None,
    sanitize: Annotated[bool, SANITIZE] = False,
    coverage: Annotated[bool, COVERAGE] = False,
    report_dir: Annotated[
        Path,
        typer.Option(
            "--report-dir", metavar="FOLDER", rich_help_panel=OUTPUT,
            help="Each distinct failure of a short run gets a folder of its own in it.",
        ),
    ] = Path(DEFAULT),
    form: Annotated[
        str,
        typer.Option(
            "--format", metavar="|".join(FORMATS), rich_help_panel=OUTPUT,
            help="What is printed on standard output; with any but text, the text goes to standard error.",
        ),
    ] = FORMATS[0],
    hours: Annotated[float | None, typer.Option("--hours", help="How long a long run takes.", rich_help_panel=LONG)] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--run", metavar="FOLDER", rich_help_panel=LONG,
            help="Everything of a long run goes there; an earlier run of this folder goes on. (default: a new one in moefuzz-runs)",
        ),
    ] = None,
    gpu: Annotated[
        str | None, typer.Option("--gpus", metavar="all|0,2|UUID", rich_help_panel=LONG, help="The GPUs of a long run. (default: all)")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=LONG, help="Processes, for each GPU or in all; 1 alone is a short run. (default: 1, on a CPU one a core)"
        ),
    ] = None,
    share: Annotated[
        str,
        typer.Option(metavar="URL", rich_help_panel=LONG, help="A Redis server, as redis://host:6379/0: examples are shared there."),
    ] = "",
    cluster: Annotated[
        bool, typer.Option("--cluster", rich_help_panel=LONG, help="Run workers as actors of Ray: on RAY_ADDRESS, or on this host.")
    ] = False,
    known_reports: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", rich_help_panel=LONG, help="Reports of earlier runs: what they explain is counted and passed by."),
    ] = None,
) -> None:  # fmt: skip
    """Fuzz a target for a while, forward and backward, against a float64 reference, over every regime in turn.

    Without --target: our own Triton grouped GEMM, and the experts and the Qwen3 MoE block on it.

    Every case runs in a process beside this one. A failure is minimised and printed as a report. With --hours, --run, --gpus or several
    --workers several processes explore, each failure becomes a report in the run's folder, and a page, summary.html, says what was found
    and covered. A run that was killed goes on with --run.

    Exit code 0: nothing (new) found, 1: failures, 2: wrong usage, 3: nothing can run here any more, 4: an error of moefuzz itself, 5: no
    example ran, 130: interrupted.
    """
    if hours is not None and duration is not None:
        refuse("--hours and --time both say how long: give one of them")
    if workers is not None and workers < 1:
        refuse(f"--workers must be at least 1, got {workers}")
    if form not in FORMATS:
        refuse(f"--format must be one of {', '.join(FORMATS)}, got {form!r}")
    seconds = seconds_of_hours(hours) if hours is not None else seconds_of(duration) if duration else None
    case_seconds = seconds_of(case_time, "--case-time") if case_time else None
    is_long = (
        any(option is not None for option in (hours, folder, gpu)) or workers not in (None, 1) or bool(known_reports or share or cluster)
    )
    folder = folder or Path("moefuzz-runs") / datetime.now(tz=UTC).strftime("%Y-%m-%d-%H%M%S")
    option, into = ("--run", folder) if is_long else ("--report-dir", report_dir)
    if why := why_not_writable(into):
        refuse(f"{option} {into}: {why}")
    options = FuzzOptions(
        specs=tuple(dict.fromkeys(target or ())), seconds=seconds, regimes=tuple(regime or ()), examples=examples,
        seed=seed, max_failures=max_failures, known=known, isolate=isolate, case_seconds=case_seconds, sanitize=sanitize, coverage=coverage,
        report_dir=report_dir, format=form, folder=folder, gpus=gpu, workers=workers, share=share, cluster=cluster,
        known_reports=tuple(known_reports or ()), document=_document(form),
    )  # fmt: skip
    forkserver.start()  # it loads torch while this process does

    from . import start

    raise typer.Exit(start.long(options) if is_long else start.short(options))


def _document(form: str) -> TextIO:
    """Where the document of a format goes: standard output, on which nothing else is printed from now on, neither here nor by a worker."""
    try:
        if form == FORMATS[0] or sys.stdout.fileno() != 1:
            return sys.stdout
    except (OSError, ValueError):  # no file, as in a test
        return sys.stdout
    sys.stdout.flush()
    document = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return document
