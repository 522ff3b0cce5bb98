"""A short run: in this process, into a folder that is thrown away; the reports stay."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from moefuzz.harness.device import describe, versions
from moefuzz.harness.exit_codes import FOUND, INFRASTRUCTURE, INTERRUPTED
from moefuzz.harness.failures import Failure
from moefuzz.harness.known_issues import KnownIssues
from moefuzz.harness.options import refuse
from moefuzz.harness.resources import LostDevice
from moefuzz.harness.running import left_over, written_ahead
from moefuzz.harness.tables import print_summary
from moefuzz.harness.targets import BadTarget, Target

from .asked import Asked
from .campaign import Reduced, fuzz
from .explore import Turn
from .reduce import Interrupted


def run(asked: Asked, targets: list[Target], issues: KnownIssues, report_dir: Path) -> int:
    """Fuzz until the time is up, print each failure minimised as it is found, and a summary; what to end with."""
    from moefuzz.strategies.regimes import REGIMES

    console = Console()
    console.print(f"[bold]{' and '.join(asked.targets)}[/] on {describe()}", highlight=False, soft_wrap=True)
    console.print(f"{versions()}\n", highlight=False, soft_wrap=True)

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    turns: dict[tuple[str, str], Turn] = {}
    failures: list[Failure] = []
    left = left_over(asked.targets)
    if left:
        asked = replace(asked, isolate=True)
        say(f"{len(left)} that ran when an earlier run ended come first, each in a process of its own\n")
    began, interrupted, lost = time.monotonic(), False, ""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[done]}"), TimeRemainingColumn())
    try:
        progress = Progress(*columns, console=console, transient=True)
        with asked.in_force(issues), progress, written_ahead():
            task = progress.add_task("fuzzing", total=asked.seconds, done="")
            for step in fuzz(targets, asked.seconds, REGIMES, left, reports=report_dir):
                if isinstance(step, Turn):
                    turns.setdefault((step.target, step.regime), Turn(step.target, step.level, step.regime)).add(step)
                elif isinstance(step, Reduced) and step.failure is not None and step.found.outcome != "same":
                    failures.append(step.failure)
                    console.print(f"[red]FAILED[/] in regime {step.found.regime}, minimised:\n", highlight=False)
                    say(f"{step.failure}\n{step.where(report_dir)}\n")
                done = sum(turn.examples for turn in turns.values())
                progress.update(task, completed=time.monotonic() - began, done=f"{done} examples, {len(failures)} distinct failures")
    except KeyboardInterrupt as interrupt:
        interrupted = True
        if isinstance(interrupt, Interrupted):
            failures.append(interrupt.found)
            console.print("[red]FAILED[/], not minimised to the end:\n")
            say(f"{interrupt.found}\n    report    {report_dir / interrupt.report / 'report.md'}\n")
    except LostDevice as error:
        lost = str(error)
    except BadTarget as error:  # which this process finds, and a worker does not
        refuse(str(error))
    if interrupted:
        console.print("interrupted")
    print_summary(console, list(turns.values()), failures, time.monotonic() - began)
    drawn = [(one.name, name) for one in targets for name, regime in REGIMES[one.level].items() if regime(one) is not None]
    if unreached := [name for target, name in drawn if (target, name) not in turns]:
        console.print(f"[yellow]no time for[/] {', '.join(dict.fromkeys(unreached))}", highlight=False)
    for line in issues.report():
        console.print(f"[yellow]{escape(line)}[/]", highlight=False, soft_wrap=True)
    if lost:
        console.print(f"[red]stopped[/]: {escape(lost)}", highlight=False, soft_wrap=True)
    return INTERRUPTED if interrupted else INFRASTRUCTURE if lost else FOUND if failures else 0
