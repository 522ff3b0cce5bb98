"""A long run: start or resume it in its folder, watch its workers, show its progress, and print its outcome."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.live import Live

from moefuzz.harness.base.contract import DEFAULT_LEVEL
from moefuzz.harness.base.device import describe
from moefuzz.harness.base.exit_codes import FOUND, INFRASTRUCTURE, NOTHING_RAN
from moefuzz.harness.base.text import several
from moefuzz.harness.campaign.explore import Regimes
from moefuzz.harness.campaign.found import Found, bucket_title
from moefuzz.harness.campaign.novelty import LABELS
from moefuzz.harness.campaign.run_folder import RunFolder
from moefuzz.harness.campaign.settings import RunSettings
from moefuzz.harness.report.folder import Report, read_all, region_of
from moefuzz.harness.report.summary import write_summary
from moefuzz.harness.run_log.event_log import EventLog
from moefuzz.harness.run_log.events import Tail, info_of
from moefuzz.harness.run_log.state import RunState, read_state
from moefuzz.harness.targets.registry import load_target
from moefuzz.harness.verdict.journal import interrupted_cases

from .fuzz_options import FuzzOptions
from .screen import plain_line, screen

_LINE_SECONDS = 60.0
"""How often the page is written, and a line is printed if there is no terminal."""


class Workers(Protocol):
    """A supervisor of workers: of this host, or of a cluster."""

    events: EventLog
    why: str  # the reason why the workers ended

    def watch(self, look: Callable[[], None], enough: Callable[[], bool]) -> int: ...


def watched(
    run: RunFolder,
    asked: RunSettings,
    command: str,
    workers: Workers,
    options: FuzzOptions,
    regimes: Regimes,
    known_reports: Sequence[Path],
) -> int:
    """Run workers until the time is up, and print progress and outcome; return the exit code."""
    console = Console()
    say = functools.partial(console.print, highlight=False, markup=False, soft_wrap=True)
    resumed = run.started({**asked.said(command), "regimes": _drawn(asked.targets, regimes), "labels": _labels(asked.targets)})
    say(f"{' and '.join(asked.targets)} on {describe()}; seed {asked.seed}; everything goes to {run.path}")
    if known_reports:
        say(f"{sum(know(run, reports) for reports in known_reports)} reports of earlier runs are known")
    if resumed:
        _say_resumed(run, asked, workers, say)
    for line in run.unreadable():
        say(f"skipped: {line}")
    reports, examples = len(_reported(run)), read_state(run.path).examples if resumed else 0

    def enough() -> bool:
        return options.max_failures is not None and len(_reported(run)) - reports >= options.max_failures

    with _shown(run.path, console) as look:
        status = workers.watch(look, enough)
    page = _page(run.path)
    if not (run.path / "summary.html").exists():
        status, workers.why = status or INFRASTRUCTURE, workers.why if status else "the run's folder cannot be written to any more"
    new = _New(len(_reported(run)) - reports, read_state(run.path).examples - examples, sum(not one.outcome for one in run.found()))
    _say_ended(run, new, page, workers.why if status == INFRASTRUCTURE else "", say)
    return status or new.status


@dataclass(frozen=True)
class _New:
    """The outcome of a run since it was started: distinct failures, examples, and failures that are not fully reduced."""

    failures: int
    examples: int
    waiting: int

    @property
    def status(self) -> int:
        """The exit code of a run that ended normally."""
        return FOUND if self.failures > 0 or self.waiting else 0 if self.examples else NOTHING_RAN


def _say_resumed(run: RunFolder, asked: RunSettings, workers: Workers, say: Callable[[str], None]) -> None:
    """Print what an earlier run in this folder left, and log it as an event."""
    waiting, cases = sum(not one.outcome for one in run.found()), len(interrupted_cases(asked.targets, run.path / "running"))
    workers.events.say("resumed", {"cases": cases, "found": waiting, "reports": len(_reported(run))})
    reports = several(len(_reported(run)), "report")
    say(f"resumed: {reports}, {several(waiting, 'failure')} to be reduced, {several(cases, 'case')} left over")


def _say_ended(run: RunFolder, new: _New, page: str, stopped: str, say: Callable[[str], None]) -> None:
    """Print each report and the outcome of the run, and why it stopped if that was before its time was up."""
    for found in _reported(run):
        where = run.reports / found.report / "report.md" if found.report else f"its report could not be written; the case is {found.case!r}"
        say(f"{bucket_title(found.became or found.bucket)}: {where}")
    if new.waiting:
        say(f"{several(new.waiting, 'failure')} not fully reduced: the same command with --run {run.path} continues")
    say(f"{several(new.failures, 'new failure')} in {several(new.examples, 'example')}; the whole run: {page}")
    if stopped:
        say(f"stopped: {stopped}")
    if not new.examples and not new.waiting:
        say("no example ran: nothing is known of the target; give it more --time")


def know(run: RunFolder, folder: Path) -> int:
    """Record the failures that the reports of an earlier run explain as known; return how many reports do."""
    known = 0
    for report in read_all(folder):
        if isinstance(report, Report) and (region := region_of(folder / report.id)) is not None:
            run.know(report, region)
            known += 1
    return known


def _page(folder: Path, state: RunState | None = None) -> str:
    """Write the page; return its path, or why it could not be written: a full disk does not end a run."""
    try:
        return str(write_summary(folder, state))
    except OSError as error:
        return f"summary.html could not be written: {error.strerror}; `moefuzz summary {folder}` does it later"


def _reported(run: RunFolder) -> list[Found]:
    return [one for one in run.found() if one.outcome in ("report", "once")]


def _drawn(specs: Sequence[str], regimes: Regimes) -> dict[str, list[str]]:
    """Return the names of each target's regimes, by target."""
    targets = [load_target(spec) for spec in specs]
    return {one.name: [name for name, regime in regimes[one.level].items() if regime(one) is not None] for one in targets}


def _labels(specs: Sequence[str]) -> dict[str, Sequence[str]]:
    """Return the labels that cases of these targets can have, by field."""
    targets = [load_target(spec) for spec in specs]
    alone = all(one.level == DEFAULT_LEVEL for one in targets)
    could: dict[str, Sequence[str]] = {**LABELS, "dtype": list(dict.fromkeys(dtype for one in targets for dtype in one.dtypes))}
    if alone:
        permutes = list(dict.fromkeys(permute for one in targets for permute in one.permutes))
        could |= {"permute": permutes}
        if permutes == ["none"]:
            could |= {"topk": ("1",), "order": ("sorted",)}
    return could


@contextmanager
def _shown(folder: Path, console: Console) -> Iterator[Callable[[], None]]:
    """Yield a function that reads new events and shows the run: on one screen, or as a line each minute if there is no terminal."""
    state, tail = RunState(info_of(folder)), Tail(folder)
    state.skipped = tail.skipped
    said = time.monotonic()
    live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def look() -> None:
        nonlocal said
        for event in tail.new():
            state.add(event)
        if live:
            live.update(screen(state, time.time()), refresh=True)
        if time.monotonic() > said + _LINE_SECONDS:
            said = time.monotonic()
            _page(folder, state)
            if not live:
                console.print(plain_line(state, time.time()), highlight=False, markup=False, soft_wrap=True)

    if live is None:
        yield look
    else:
        with live:
            yield look
