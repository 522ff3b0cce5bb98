"""A long run: what its folder holds already, its workers on this host, what it shows meanwhile, and what it ends with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.live import Live

from moefuzz.harness.base.contract import DEFAULT_LEVEL
from moefuzz.harness.base.device import describe
from moefuzz.harness.base.exit_codes import FOUND, INFRASTRUCTURE, NOTHING_RAN
from moefuzz.harness.base.text import several
from moefuzz.harness.campaign.explore import Regimes
from moefuzz.harness.campaign.novelty import LABELS
from moefuzz.harness.campaign.run_folder import Events, Found, RunFolder, in_words
from moefuzz.harness.campaign.settings import Asked
from moefuzz.harness.report.folder import Report, read_all, region_of
from moefuzz.harness.report.summary import write_summary
from moefuzz.harness.run_log.events import Tail, info_of
from moefuzz.harness.run_log.state import RunState, read_state
from moefuzz.harness.targets.registry import load_target
from moefuzz.harness.verdict.journal import left_over

from .fuzz_options import FuzzOptions
from .screen import plain_line, screen

_LINE_SECONDS = 60.0
"""How often a line is printed where there is no terminal, and the page is written."""


class Workers(Protocol):
    """A supervisor of this host, or a cluster."""

    events: Events
    why: str  # they ended

    def watch(self, look: Callable[[], None], enough: Callable[[], bool]) -> int: ...


def watched(
    run: RunFolder, asked: Asked, command: str, workers: Workers, options: FuzzOptions, regimes: Regimes, known_reports: Sequence[Path]
) -> int:
    """Have workers fuzz until the time is up; what to end with."""
    console, folder = Console(), run.path
    resumed = run.started({**asked.said(command), "regimes": _drawn(asked.targets, regimes), "labels": _labels(asked.targets)})

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    say(f"{' and '.join(asked.targets)} on {describe()}; seed {asked.seed}; everything goes to {folder}")
    if known_reports:
        say(f"{sum(know(run, reports) for reports in known_reports)} reports of earlier runs are known")
    if resumed:
        waiting, cases = sum(not one.outcome for one in run.found()), len(left_over(asked.targets, folder / "running"))
        workers.events.say("resumed", {"cases": cases, "found": waiting, "reports": len(_reported(run))})
        reports = several(len(_reported(run)), "report")
        say(f"resumed: {reports}, {several(waiting, 'failure')} to be reduced, {several(cases, 'case')} left over")
    for line in run.unreadable():
        say(f"skipped: {line}")
    before, examples_before = len(_reported(run)), read_state(folder).examples if resumed else 0

    def enough() -> bool:
        return options.max_failures is not None and len(_reported(run)) - before >= options.max_failures

    with _shown(folder, console) as look:
        status = workers.watch(look, enough)
    page = _page(folder)
    if not (folder / "summary.html").exists():
        status, workers.why = status or INFRASTRUCTURE, workers.why if status else "the run's folder takes no file any more"
    for found in _reported(run):
        where = run.reports / found.report / "report.md" if found.report else f"its report could not be written; the case is {found.case!r}"
        say(f"{in_words(found.became or found.bucket)}: {where}")
    if waiting := sum(not one.outcome for one in run.found()):
        say(f"{several(waiting, 'failure')} not reduced to the end: the same command with --run {folder} goes on with it")
    examples = read_state(folder).examples - examples_before
    say(f"{several(len(_reported(run)) - before, 'new failure')} in {several(examples, 'example')}; the whole run: {page}")
    if status == INFRASTRUCTURE:
        say(f"stopped: {workers.why}")
    if not examples and not waiting:
        say("no example ran: nothing is known of the target; give it more --time")
    return status or (FOUND if len(_reported(run)) > before or waiting else 0 if examples else NOTHING_RAN)


def know(run: RunFolder, folder: Path) -> int:
    """Take what the reports of an earlier run explain for known; how many there are."""
    known = 0
    for report in read_all(folder):
        if isinstance(report, Report) and (region := region_of(folder / report.id)) is not None:
            run.know(report, region)
            known += 1
    return known


def _page(folder: Path, state: RunState | None = None) -> str:
    """Write the page; where it is, or why there is none: a full disk ends no run."""
    try:
        return str(write_summary(folder, state))
    except OSError as error:
        return f"summary.html could not be written: {error.strerror}; `moefuzz summary {folder}` does it later"


def _reported(run: RunFolder) -> list[Found]:
    return [one for one in run.found() if one.outcome in ("report", "once")]


def _drawn(specs: Sequence[str], regimes: Regimes) -> dict[str, list[str]]:
    """By target the regimes that it has."""
    targets = [load_target(spec) for spec in specs]
    return {one.name: [name for name, regime in regimes[one.level].items() if regime(one) is not None] for one in targets}


def _labels(specs: Sequence[str]) -> dict[str, Sequence[str]]:
    """By field what cases of these targets can have."""
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
    """Follow the run's events: on one screen, or by a line each minute where there is no terminal."""
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
