"""The page of a long run: one HTML file that needs no script, network or other file, and has a light and a dark mode."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import jinja2
from markupsafe import Markup

from moefuzz.harness.base import text
from moefuzz.harness.base.text import by_number, several
from moefuzz.harness.run_log.failures import Reported
from moefuzz.harness.run_log.regime_state import Regime
from moefuzz.harness.run_log.state import RunState, read_state
from moefuzz.harness.run_log.worker_state import SILENT_SECONDS

from .summary_coverage import coverage_of, remainders_of
from .summary_plots import examples_plot, failures_plot, memory_plot

PAGE = "summary.html"
_WORDS = ("duration", "memory", "moment", "printable", "rate", "several")
_COUNTS = {
    "failing": "Failing",
    "passed_by": "Explained",
    "known": "Known",
    "refused": "Refused",
    "no_room": "Out of memory",
    "fresh": "New labels",
}
_IN_A_REPORT = {"report.md": "report", "reproduce.py": "script", "mismatch.png": "picture", "log.txt": "log"}

TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("moefuzz.harness.report"),
    undefined=jinja2.StrictUndefined,
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters |= {name: getattr(text, name) for name in _WORDS}
TEMPLATES.filters["thousands"] = lambda number: f"{number:,}"


@dataclass(frozen=True)
class Link:
    """A file of a report, as seen from the page."""

    name: str
    href: str


@dataclass(frozen=True)
class Share:
    """The largest error of a tensor, as a share of its bound."""

    target: str
    tensor: str
    share: float
    regime: str


OfTarget = TypeVar("OfTarget", Regime, Share)


def write_summary(run: Path, state: RunState | None = None, now: float | None = None) -> Path:
    """Write the page of a run atomically, and return its path; without a ``state`` the run's events are read.

    Raises BadRun or OSError.
    """
    page = _page(run, read_state(run) if state is None else state, time.time() if now is None else now)
    descriptor, name = tempfile.mkstemp(dir=run, prefix=f".{PAGE}.")  # beside it: a rename is atomic on one file system only
    half = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(page)
        half.chmod(0o644)
        return half.replace(run / PAGE)
    except BaseException:
        half.unlink(missing_ok=True)
        raise


def verdict(state: RunState, now: float) -> str:
    """Return the outcome of the run in one sentence.

    >>> verdict(RunState(), 0.0)
    'Nothing has run yet'
    """
    reported, waiting = len(state.failures.reported), len(state.failures.waiting)
    so_far = "" if is_over(state, now) else " so far"
    if not state.examples and not reported and not waiting:
        return f"No example was run{so_far}" if state.workers else "Nothing has run yet"
    examples = f"in {several(state.examples, 'example')}{so_far}"
    if reported:
        return several(reported, "failure") + (f", and {waiting} not reduced," if waiting else "") + f" {examples}"
    return f"{several(waiting, 'failure')}, not reduced, {examples}" if waiting else f"Nothing found {examples}"


def is_over(state: RunState, now: float) -> bool:
    """Return whether the run ended, or has logged nothing for long."""
    return bool(state.ended) or (state.last_at is not None and now - state.last_at > SILENT_SECONDS)


def ending(state: RunState, now: float) -> str:
    """Return how the run ended, or that it has not."""
    if state.ended:
        return state.ended
    if state.last_at is None:
        return "not begun"
    return "stopped unexpectedly" if is_over(state, now) else "still running"


def _page(run: Path, state: RunState, now: float) -> str:
    plots = {"Examples": examples_plot(state) if state.examples else "", "Distinct failures": failures_plot(state)}
    memory = {"Memory of the processes": memory_plot(state, on_device=False), "Memory on the GPU": memory_plot(state, on_device=True)}
    return TEMPLATES.get_template("summary.html.jinja").render(
        info=state.info, state=state, failures=state.failures, now=now, verdict=verdict(state, now), ending=ending(state, now),
        links={reported.report: list(_links(run, reported)) for reported in state.failures.reported if reported.report},
        untold=sorted(_untold(run, state)), plots=_inline(plots), memory=_inline(memory),
        coverage=coverage_of(state), remainders=remainders_of(state),
        shares=_by_target(state, (Share(*key, *most) for key, most in state.shares.items())),
        regimes=_by_target(state, state.regimes.values()),
        counts={name: title for name, title in _COUNTS.items() if any(getattr(regime, name) for regime in state.regimes.values())},
        workers=sorted(state.workers.values(), key=lambda worker: by_number(worker.name)),
        gpus=len({worker.gpu for worker in state.workers.values() if worker.gpu}),
    )  # fmt: skip


def _links(run: Path, reported: Reported) -> Iterator[Link]:
    """Yield links to the files of a report that exist; an ID of an unknown form has none."""
    if reported.report and re.fullmatch(r"[\w-]+", reported.report, re.ASCII):
        for file, name in _IN_A_REPORT.items():
            if (run / "reports" / reported.report / file).is_file():
                yield Link(name, f"reports/{reported.report}/{file}")


def _untold(run: Path, state: RunState) -> Iterator[str]:
    """Yield the reports that no event names, since their worker was killed before it logged them."""
    told = {reported.report for reported in state.failures.reported}
    for report in (run / "reports").glob("*/report.md"):
        if report.parent.name not in told and re.fullmatch(r"[\w-]+", report.parent.name, re.ASCII):
            yield report.parent.name


def _by_target(state: RunState, each: Iterable[OfTarget]) -> dict[str, list[OfTarget]]:
    """Return the items grouped by target, in the order in which the targets were given."""
    by_target: dict[str, list[OfTarget]] = {target: [] for target in state.info.targets}
    for one in each:
        by_target.setdefault(one.target, []).append(one)
    return {target: of_target for target, of_target in by_target.items() if of_target}


def _inline(plots: dict[str, str]) -> dict[str, Markup]:
    """Return the plots that are not empty, as markup: their texts were escaped when they were drawn."""
    return {title: Markup(svg) for title, svg in plots.items() if svg}  # noqa: S704
