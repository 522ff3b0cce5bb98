"""The command ``moefuzz``."""

from __future__ import annotations

import re
import signal
import time
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from .campaign import Interrupted, Tally, fuzz
from .cases import Case, case_from_json, case_from_repr
from .device import describe, device, one_thread, versions
from .environment import KNOWN_ISSUES_VARIABLE, TARGET_VARIABLE, why_not_writable
from .exit_codes import FOUND, INFRASTRUCTURE, INTERRUPTED
from .failures import Failure, ends_a_process, is_misuse
from .isolation import CASE_SECONDS, isolated
from .known_issues import BadKnownIssues, KnownIssues, in_force
from .listings import models_command, named_report, refuse, report_command, targets_command
from .reports import DEFAULT, BadReport, Report, read, write
from .resources import LostDevice, NoRoom
from .run_commands import merge_command, summary_command
from .running import left_over, written_ahead
from .sanitize_script import sanitize_command
from .sanitized import sanitizing, why_not
from .tables import print_summary
from .target_names import OWN_TARGETS, load_target
from .targets import BadTarget, Target
from .verdict import check

app = typer.Typer(
    help="Find bugs in Mixture-of-Experts GPU kernels before users do.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
WHAT = "The grouped GEMM, experts or MoE block to hold against the reference; `moefuzz targets` lists the names."
TARGET: dict[str, Any] = {"metavar": "NAME|PKG.MOD:ATTR", "envvar": TARGET_VARIABLE}


ISOLATE = typer.Option(
    "--isolate/--no-isolate",
    help="Run cases in a process of their own, where a crash, a hang and a CUDA error are failures like any other (default: on a GPU).",
)


SANITIZE = typer.Option("--sanitize", help="Watch every access of Triton kernels under the interpreter: outside, uninitialised, racing.")


@app.callback(invoke_without_command=True)
def moefuzz(*, show_version: Annotated[bool, typer.Option("--version", help="Print the versions that decide an outcome.")] = False) -> None:
    if show_version:
        typer.echo(f"moefuzz {version('moefuzz')} ({versions()})")
        raise typer.Exit


@app.command("fuzz")
def fuzz_command(
    duration: Annotated[str, typer.Option("--time", metavar="DURATION", help="How long, as 90s, 2m or 1h.")] = "2m",
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
        str, typer.Option("--case-time", metavar="DURATION", help="How long a case may take in its process, compiling included.")
    ] = f"{CASE_SECONDS:.0f}s",
    sanitize: Annotated[bool, SANITIZE] = False,
    report_dir: Annotated[
        Path, typer.Option("--report-dir", metavar="FOLDER", help="Each distinct failure gets a folder of its own in it.")
    ] = Path(DEFAULT),
) -> None:
    """Fuzz a target for a while, forward and backward, against a float64 reference, over every regime in turn.

    Without --target: our own Triton grouped GEMM, and the experts and the Qwen3 MoE block on it.

    A failure is minimised and printed as a report. Exit code 0: nothing found, 1: failures, 2: wrong usage,
    3: nothing can run here any more, 130: interrupted.
    """
    from moefuzz.strategies.regimes import REGIMES

    one_thread()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was found is said
    console, seconds, case_seconds = Console(), _seconds(duration), _seconds(case_time, "--case-time")
    if why := why_not_writable(report_dir):
        refuse(f"--report-dir {report_dir}: {why}")
    issues = _known_issues(known)
    targets = [_target(spec) for spec in dict.fromkeys(target or [own[0] for own in OWN_TARGETS.values()])]
    console.print(f"[bold]{' and '.join(chosen.name for chosen in targets)}[/] on {describe()}", highlight=False, soft_wrap=True)
    console.print(f"{versions()}\n", highlight=False, soft_wrap=True)
    tallies: dict[tuple[str, str], Tally] = {}
    failures: list[Failure] = []
    left = left_over(chosen.name for chosen in targets)
    if left:
        isolate = True if isolate is None else isolate
        console.print(f"{len(left)} that ran when an earlier run ended come first, each in a process of its own\n", highlight=False)
    began, interrupted, lost = time.monotonic(), False, ""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[done]}"), TimeRemainingColumn())
    try:
        progress = Progress(*columns, console=console, transient=True)
        with _isolation(isolate, case_seconds), progress, in_force(issues), written_ahead(), _sanitizing(wanted=sanitize):
            task = progress.add_task("fuzzing", total=seconds, done="")
            for turn in fuzz(targets, seconds, REGIMES, left):
                tallies[turn.tally.target.name, turn.tally.regime] = turn.tally
                if turn.found is not None:
                    failures.append(turn.found)
                    console.print(f"[red]FAILED[/] in regime {turn.tally.regime}, minimised:\n", highlight=False)
                    console.print(str(turn.found), markup=False, highlight=False, soft_wrap=True)
                    console.print(_reported(turn.found, turn.tally.target, report_dir), markup=False, highlight=False, soft_wrap=True)
                done = sum(tally.examples for tally in tallies.values())
                progress.update(task, completed=time.monotonic() - began, done=f"{done} examples, {len(failures)} distinct failures")
    except KeyboardInterrupt as interrupt:
        interrupted = True
        if isinstance(interrupt, Interrupted):
            failures.append(interrupt.found)
            console.print("[red]FAILED[/], not minimised to the end:\n")
            console.print(str(interrupt.found), markup=False, highlight=False, soft_wrap=True)
            said = _reported(interrupt.found, _target(interrupt.found.target), report_dir, unrun=True)
            console.print(said, markup=False, highlight=False, soft_wrap=True)
    except LostDevice as error:
        lost = str(error)
    except BadTarget as error:  # which this process finds, and a worker does not
        refuse(str(error))
    if interrupted:
        console.print("interrupted")
    print_summary(console, list(tallies.values()), failures, time.monotonic() - began)
    had = [(chosen.name, name) for chosen in targets for name, regime in REGIMES[chosen.level].items() if regime(chosen) is not None]
    if unreached := [name for target_name, name in had if (target_name, name) not in tallies]:
        console.print(f"[yellow]no time for[/] {', '.join(dict.fromkeys(unreached))}", highlight=False)
    for line in issues.report():
        console.print(f"[yellow]{escape(line)}[/]", highlight=False, soft_wrap=True)
    if lost:
        console.print(f"[red]stopped[/]: {escape(lost)}", highlight=False, soft_wrap=True)
    raise typer.Exit(INTERRUPTED if interrupted else INFRASTRUCTURE if lost else FOUND if failures else 0)


def _reported(failure: Failure, target: Target, folder: Path, *, unrun: bool = False) -> str:
    try:
        return f"    report    {write(failure, target, folder, unrun=unrun) / 'report.md'}\n"
    except Exception as error:  # whatever a report fails at, what was found is not lost
        return f"    report    could not be written: {type(error).__name__}: {error}\n"


@app.command()
def replay(
    case: Annotated[
        str, typer.Argument(metavar="CASE", help="GroupedGemmCase(...) as a report prints it, JSON, a report's folder or file, or its ID.")
    ],
    target: Annotated[str | None, typer.Option("--target", "-t", help=WHAT, metavar="NAME|PKG.MOD:ATTR")] = None,
    isolate: Annotated[bool | None, ISOLATE] = None,
    sanitize: Annotated[bool, SANITIZE] = False,
) -> None:
    """Run one case again, by default on the target that its report names, or that of its level in MOEFUZZ_TARGET, or our own.

    Known issues are no matter here. Exit code 0: the target is right, or refuses what it does not declare, 1: it fails, 2: wrong usage.
    """
    try:
        parsed, reported = _case_of(case)
        if reported is not None:
            target, isolate = target or reported.target, isolate or ends_a_process(reported.kind) or None
            sanitize = sanitize or is_misuse(reported.kind)
        with _isolation(isolate), _sanitizing(wanted=sanitize):
            agreement = check(parsed, None if target is None else _target(target))
    except (ValueError, OverflowError, MemoryError, BadReport, BadTarget, NoRoom) as error:
        refuse(str(error))
    except LostDevice as error:
        refuse(str(error), INFRASTRUCTURE)
    except Failure as failure:
        typer.echo(str(failure))
        raise typer.Exit(FOUND) from None
    if agreement.refused:
        typer.echo(f"refused, as it may: {agreement.case!r}\n{agreement.refused}")
        return
    shares = ", ".join(f"{tensor} {share:.1%}" for tensor, share in agreement.shares.items())
    typer.echo(f"right: {agreement.case!r}\nshare of the bound used: {shares}")


def _case_of(text: str) -> tuple[Case, Report | None]:
    """A case, and the report in which it stands. Raises ValueError or BadReport."""
    if text.lstrip().startswith("{"):
        return case_from_json(text), None
    if "(" in text and not Path(text).exists():
        return case_from_repr(text), None
    report = read(named_report(text))
    return report.case, report


for name, command in (
    ("report", report_command),
    ("sanitize", sanitize_command),
    ("targets", targets_command),
    ("models", models_command),
    ("summary", summary_command),
    ("merge", merge_command),
):
    app.command(name)(command)


def _seconds(duration: str, option: str = "--time") -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|)", duration.strip())
    if match is None or float(match[1]) == 0:
        refuse(f"{option} must be a duration like 90s, 2m or 1h, got {duration!r}")
    return float(match[1]) * {"s": 1, "": 1, "m": 60, "h": 3600}[match[2]]


def _isolation(wanted: bool | None, seconds: float = CASE_SECONDS) -> AbstractContextManager[Any]:
    return isolated(seconds) if wanted or (wanted is None and device().type == "cuda") else nullcontext()


def _sanitizing(*, wanted: bool) -> AbstractContextManager[None]:
    if wanted and (why := why_not()):
        refuse(why)
    return sanitizing(wanted)


def _target(spec: str) -> Target:
    try:
        return load_target(spec)
    except BadTarget as error:
        refuse(str(error))


def _known_issues(path: Path | None) -> KnownIssues:
    try:
        return KnownIssues() if path is None else KnownIssues.read(path)
    except BadKnownIssues as error:
        refuse(str(error))
