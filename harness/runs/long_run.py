"""A long run: what its folder holds already, its workers on this host, what it shows meanwhile, and what it ends with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from moefuzz.harness.exit_codes import FOUND
from moefuzz.harness.reports import Report, read_all, region_of
from moefuzz.harness.running import left_over

from .asked import Asked
from .folder import RunFolder
from .supervisor import Supervisor, slots


def run(folder: Path, asked: Asked, command: str, uuids: Sequence[str], workers: int, known_reports: Sequence[Path]) -> int:
    """Fuzz with worker processes until the time is up; what to end with."""
    console = Console()
    run = RunFolder(folder)
    resumed = run.started(asked.said(command))
    supervisor = Supervisor(run, slots(workers, uuids), asked.seconds, asked.targets)
    if known_reports:
        console.print(f"{sum(know(run, reports) for reports in known_reports)} reports of earlier runs are known", highlight=False)
    if resumed:
        found = run.found()
        said = {
            "cases": len(left_over(asked.targets, folder / "running")),
            "found": sum(not one.outcome for one in found),
            "reports": sum(one.outcome in ("report", "once") for one in found),
        }
        supervisor.events.say("resumed", said)
        console.print(
            f"resumed {folder}: {said['reports']} reports, {said['found']} failures to be reduced, {said['cases']} cases that were running",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    before = len([one for one in run.found() if one.outcome in ("report", "once")])
    status = supervisor.watch(lambda: None)
    new = len([one for one in run.found() if one.outcome in ("report", "once")]) - before
    return status or (FOUND if new else 0)


def know(run: RunFolder, folder: Path) -> int:
    """Take what the reports of an earlier run explain for known; how many there are."""
    known = 0
    for report in read_all(folder):
        if isinstance(report, Report) and (region := region_of(folder / report.id)) is not None:
            run.know(report, region)
            known += 1
    return known
