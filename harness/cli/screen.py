"""Show a long run on one screen, or as one line if there is no terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from moefuzz.harness.base.text import by_number, duration, memory, printable, rate, several
from moefuzz.harness.run_log.failures import Reported
from moefuzz.harness.run_log.regime_state import Regime
from moefuzz.harness.run_log.state import RunState
from moefuzz.harness.run_log.worker_state import Worker

STARVING_SECONDS = 600.0
"""A regime that still has no example after so long is named."""

Lines = Iterator[RenderableType]

_FEWEST_LINES = 24
_STYLES = {"running": "green", "reducing": "yellow", "restarting": "magenta", "out": "red", "ended": "dim", "silent": "red"}
_URGENT = ("out", "silent", "restarting", "reducing", "running", "ended")


def screen(state: RunState, now: float) -> RenderableType:
    """Return the present state of the run, cut to the number of lines of the terminal."""
    return _Screen(state, now)


def plain_line(state: RunState, now: float) -> str:
    """Return the present state of the run in one line, for a log."""
    said = [
        _time_left(state, now),
        several(state.examples, "example"),
        f"{_rate_now(state, now)}/s now",
        _failures(state),
        _workers(state, now),
        several(state.compiles, "compile"),
    ]
    if starving := state.starving(STARVING_SECONDS):
        said.append(f"no example yet in {_names(starving)}")
    return ", ".join(said)


@dataclass(frozen=True)
class _Screen:
    state: RunState
    now: float

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = max(options.height or options.size.height, _FEWEST_LINES) - 1  # the last line is the cursor's
        head, tail = list(self._head(options.max_width)), list(self._tail())
        room -= len(head) + len(tail)
        failures = self.state.failures
        wanted = len(failures.reported) + len(failures.waiting)
        for_failures = min(wanted + 2, max(room // 2, room - len(self.state.workers) - 3)) if wanted else 0
        yield Group(*head, *self._workers(room - for_failures), *self._failures(for_failures), *tail)

    def _head(self, width: int) -> Lines:
        state, now = self.state, self.now
        yield _line(f"[b]{_escaped(state.info.command or 'moefuzz fuzz')}[/]")
        of = f" of {duration(state.info.seconds)}" if state.info.seconds else ""
        yield _line(f"{_time_left(state, now)}{of}, {several(len(_gpus(state)), 'GPU')}, {_workers(state, now)}")
        left = state.left(now)
        total = state.info.seconds or (state.elapsed + (left or 0.0)) or 1.0
        yield Padding(ProgressBar(total=total, completed=total if left is None else max(total - left, 0.0), width=width))
        in_all = rate(state.examples, state.since(now) if not state.ended else state.elapsed)
        speed = f"{_rate_now(state, now)}/s now  {in_all}/s in all"
        yield _line(f"[b]{several(state.examples, 'example')}[/]  {speed}  {several(state.compiles, 'compile')}")
        yield _line(f"[b {'red' if state.failures.reported or state.failures.pending else 'green'}]{_failures(state)}[/]")

    def _tail(self) -> Lines:
        if starving := self.state.starving(STARVING_SECONDS):
            yield _line(f"[yellow]no example yet[/] in {_escaped(_names(starving))}")
        if lines := self.state.skipped.total():
            yield _line(f"[yellow]{several(lines, 'broken line')}[/] skipped")

    def _workers(self, room: int) -> Lines:
        table = _table("worker", "GPU", "state", "/s", "examples", "died", "memory", "on GPU", "seen")
        for column in table.columns[3:]:
            column.justify = "right"
        workers = sorted(
            self.state.workers.values(), key=lambda worker: (_URGENT.index(_state_of(worker, self.now)), by_number(worker.name))
        )
        shown = workers if len(workers) + 2 <= room else workers[: max(room - 3, 1)]
        for worker in shown:
            state, turn = _state_of(worker, self.now), worker.last_turn
            per_second = rate(turn.examples, turn.seconds) if turn and state == "running" else "-"
            cells = (worker.name, (worker.gpu or "-").removeprefix("GPU-")[:8])
            used = (memory(worker.rss_now or None), memory(worker.device_now))
            counts = (per_second, f"{worker.examples:,}", str(worker.restarts or "-"))
            table.add_row(*map(Text, cells), Text(state, _STYLES[state]), *counts, *used, _ago(self.now - worker.last_at))
        if workers:
            yield table
        if rest := Counter(_state_of(worker, self.now) for worker in workers[len(shown) :]):
            yield _line(f"[dim]and {', '.join(f'{number} {state}' for state, number in rest.items())}[/]")

    def _failures(self, room: int) -> Lines:
        failures = self.state.failures
        if room < 3:
            return
        table = _table("failure", "target", "after", "report", "takes")
        table.expand, table.columns[4].ratio = True, 1  # its text can be of any length: it gets the remaining width
        for column, (least, most) in zip(table.columns, ((8, 26), (6, 16), (11, 11), (8, 9)), strict=False):
            column.min_width, column.max_width = least, most
        rows = [_row(reported) for reported in reversed(failures.reported)]
        rows = [(waiting.name, _short(waiting.bucket[0]), duration(waiting.found), "reducing", "") for waiting in failures.waiting] + rows
        hidden = 0 if len(rows) + 2 <= room else len(rows) - max(room - 3, 1)
        for row in rows[: len(rows) - hidden]:
            table.add_row(*map(Text, row))
        yield table
        if hidden:
            yield _line(f"[dim]and {several(hidden, 'older one')}[/]")


def _row(reported: Reported) -> tuple[str, ...]:
    return reported.failure, _short(reported.target), duration(reported.found), reported.report or "unwritten", ", ".join(reported.needs)


def _table(*columns: str) -> Table:
    """Return an empty table with a header, a rule, and rows of one line each."""
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True, header_style="dim", expand=False)
    for column in table.columns:
        column.no_wrap, column.overflow = True, "ellipsis"
    return table


def _line(markup: str) -> Text:
    text = Text.from_markup(markup, overflow="ellipsis")
    text.no_wrap = True
    return text


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


def _time_left(state: RunState, now: float) -> str:
    if state.ended:
        return f"{state.ended} after {duration(state.elapsed)}"
    left = state.left(now)
    return f"{duration(state.since(now))} elapsed" if left is None else f"{duration(left)} left"


def _rate_now(state: RunState, now: float) -> str:
    return rate(state.rate_now(now), 1.0) if state.rate_now(now) else "0"


def _failures(state: RunState) -> str:
    failures = state.failures
    kinds = ", ".join(f"{number} {kind}" for kind, number in failures.by_kind().most_common(3))
    said = several(len(failures.reported), "failure")
    said += f", {len(failures.waiting)} being reduced" if failures.waiting else ""
    return said + (f" ({kinds})" if kinds else "")


def _workers(state: RunState, now: float) -> str:
    states = Counter(_state_of(worker, now) for worker in state.workers.values())
    others = ", ".join(f"{number} {name}" for name, number in states.items() if name != "running")
    return several(len(state.workers), "worker") + (f" ({others})" if others else "")


def _state_of(worker: Worker, now: float) -> str:
    """Return the state of a worker, or "silent" if it has logged nothing for long."""
    return "silent" if worker.state in ("running", "reducing") and not worker.works(now) else worker.state


def _ago(seconds: float) -> str:
    """Return a duration in its largest unit."""
    return " ".join(duration(max(seconds, 0.0)).split()[:2])


def _gpus(state: RunState) -> set[str]:
    return {worker.gpu for worker in state.workers.values() if worker.gpu}


def _names(regimes: list[Regime]) -> str:
    return ", ".join(f"{regime.name} ({printable(_short(regime.target))})" for regime in regimes)


def _short(target: str) -> str:
    """Return the last part of a target's name, after the colon."""
    return target.rpartition(":")[2]
