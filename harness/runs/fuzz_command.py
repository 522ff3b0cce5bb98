"""``moefuzz fuzz``: a short run in this process, or a long one in worker processes that share a folder."""

from __future__ import annotations

import os
import shlex
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from moefuzz.harness.covered import printed
from moefuzz.harness.environment import KNOWN_ISSUES_VARIABLE, why_not_writable
from moefuzz.harness.exit_codes import INFRASTRUCTURE
from moefuzz.harness.limits import CASE_SECONDS
from moefuzz.harness.options import COVERAGE, ISOLATE, SANITIZE, TARGET, WHAT, named_issues, named_target, refuse, seconds_of
from moefuzz.harness.reports import DEFAULT, Report, read_all
from moefuzz.harness.sanitized import why_not
from moefuzz.harness.target_names import OWN_TARGETS

from . import gpus
from .events import BadRun

LONG = "Long runs"


def fuzz_command(
    duration: Annotated[
        str | None, typer.Option("--time", metavar="DURATION", help="How long, as 90s or 1h; then what is found is reduced. (default: 2m)")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option("--target", "-t", help=f"{WHAT} Given several times, they take turns.", **TARGET)
    ] = None,
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
        Path, typer.Option("--report-dir", metavar="FOLDER", help="Each distinct failure of a short run gets a folder of its own in it.")
    ] = Path(DEFAULT),
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
        typer.Option(rich_help_panel=LONG, help="Processes, for each GPU or in all. (default: 1, on a CPU one a core)"),
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

    A failure is minimised and printed as a report. With --hours, --run, --gpus or --workers several processes explore, each failure becomes
    a report in the run's folder, and a page, summary.html, says what was found and covered. A run that was killed goes on with --run.

    Exit code 0: nothing (new) found, 1: failures, 2: wrong usage, 3: nothing can run here any more, 130: interrupted.
    """
    is_long = any(option is not None for option in (hours, folder, gpu, workers)) or bool(known_reports or share or cluster)
    if hours is not None and duration is not None:
        refuse("--hours and --time both say how long: give one of them")
    if hours is not None and not 0 < hours < float("inf"):
        refuse(f"--hours must be above 0, got {hours}")
    if workers is not None and workers < 1:
        refuse(f"--workers must be at least 1, got {workers}")
    seconds = seconds_of(duration or "2m") if hours is None else 3600 * hours

    from moefuzz.harness.device import device, one_thread

    from . import long_run, short_run
    from .asked import Asked
    from .cluster import Cluster, NoCluster, connect
    from .folder import RunFolder, Taken
    from .shared import CannotShare, database_of
    from .supervisor import Supervisor, slots

    try:
        before = Asked.of(folder) if folder and (folder / "run.json").exists() else None
    except BadRun as error:
        refuse(str(error))
    known = known or (Path(before.known_issues) if before and before.known_issues else None)
    issues = named_issues(known)
    sanitize = sanitize or (before is not None and before.sanitize)
    if sanitize and (why := why_not()):
        refuse(why)
    if coverage and (why := "--coverage is for a short run" if is_long else why_not("--coverage")):
        refuse(why)
    specs = target or (list(before.targets) if before else [])
    targets = [named_target(spec) for spec in dict.fromkeys(specs or [own[0] for own in OWN_TARGETS.values()])]
    if isolate is None:
        isolate = before.isolate if before else device().type == "cuda" or is_long
    case_seconds = seconds_of(case_time, "--case-time") if case_time else before.case_seconds if before else CASE_SECONDS
    share = share or (before.share if before else "")
    names, issues_file = tuple(one.name for one in targets), str(known.absolute()) if known else ""
    asked = Asked(names, seconds, isolate, case_seconds, sanitize, issues_file, share)
    if before and set(before.targets) != set(names):
        refuse(f"--run {folder}: it is a run of {' and '.join(before.targets)}; another target wants another folder")
    if not is_long:
        one_thread()
        if why := why_not_writable(report_dir):
            refuse(f"--report-dir {report_dir}: {why}")
        with printed(wanted=coverage):
            status = short_run.run(asked, targets, issues, report_dir)
        raise typer.Exit(status)
    folder = folder or Path("moefuzz-runs") / datetime.now(tz=UTC).strftime("%Y-%m-%d-%H%M%S")
    if why := why_not_writable(folder):
        refuse(f"--run {folder}: {why}")
    for reports in known_reports or ():
        if not any(isinstance(report, Report) for report in read_all(_reports_in(reports))):
            refuse(f"--known-reports {reports}: no report is there")
    try:
        run = RunFolder(folder)
    except OSError as error:
        refuse(f"--run {folder}: {error.strerror}")
    try:
        database_of(share, now=True)
        if cluster:
            workers_of_run: Supervisor | Cluster = Cluster(connect(), run, workers, seconds, asked.targets)
        else:
            uuids = gpus.chosen(gpu or "all") if gpu is not None or device().type == "cuda" else []
            places = slots(workers or (1 if uuids else os.cpu_count() or 1), uuids)
            workers_of_run = Supervisor(run, places, seconds, asked.targets)
    except gpus.NoSuchGpu as error:
        refuse(f"--gpus {gpu or 'all'}: {error}")
    except CannotShare as error:
        refuse(f"--share: {error}")
    except NoCluster as error:
        refuse(f"--cluster: {error}")
    command = shlex.join(["moefuzz", *sys.argv[1:]])
    try:
        with run.alone(socket.gethostname()):
            raise typer.Exit(long_run.watched(run, asked, command, workers_of_run, [*map(_reports_in, known_reports or ())]))
    except Taken as error:
        refuse(f"--run {folder}: {error}")
    except OSError as error:
        refuse(f"--run {folder}: {error.strerror}", INFRASTRUCTURE)


def _reports_in(folder: Path) -> Path:
    """Where the reports of a folder lie, which may be a run's."""
    return folder / "reports" if (folder / "run.json").exists() else folder
