"""How far a short run is: a bar in a terminal, and elsewhere a line every ten seconds."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from moefuzz.harness.base.text import several
from moefuzz.harness.campaign.explore import Explorer
from moefuzz.harness.campaign.settings import RunSettings

from .tally import Tally

_LINE_SECONDS = 10.0
"""How often a line is printed where there is no terminal."""


class RunProgress:
    """Shows what a run is ``doing``, and how many examples and failures there are, those of the turn under way included."""

    def __init__(self, console: Console, tally: Tally, asked: RunSettings, examples: int | None) -> None:
        self.console, self.tally, self.asked, self.examples = console, tally, asked, examples
        self.doing = "starting"
        self.explorer: Explorer | None = None  # once the run explores

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show it while this lasts."""
        if not self.console.is_terminal:
            with _every(_LINE_SECONDS, self._print_line):
                yield
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[done]}"), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            total = self.asked.seconds if self.examples is None else float(self.examples)
            task = progress.add_task("starting", total=total, done="")

            def update() -> None:
                done = self.tally.seconds if self.examples is None else self.tally.examples
                progress.update(task, completed=done, description=self.doing, done=self._so_far())

            with _every(0.5, update):
                yield

    def _print_line(self) -> None:
        line = f"{self.tally.seconds:.0f} s: {self._so_far()}; {self.doing}{self._long_case()}"
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _long_case(self) -> str:
        """Return for how long a case runs that takes long."""
        began = self.explorer.running_since if self.explorer is not None else None
        seconds = 0.0 if began is None else time.monotonic() - began
        limit = f", given up after {self.asked.case_seconds:.0f} s: --case-time" if self.asked.isolate else ""
        return f"; a case runs for {seconds:.0f} s{limit}" if seconds > _LINE_SECONDS / 2 else ""

    def _so_far(self) -> str:
        examples = max(self.tally.examples, self.explorer.examples if self.explorer is not None else 0)
        return f"{several(examples, 'example')}, {several(len(self.tally.failures), 'distinct failure')}"


@contextlib.contextmanager
def _every(seconds: float, call: Callable[[], None]) -> Iterator[None]:
    """Call something again and again in a thread, while this lasts."""
    done = threading.Event()

    def loop() -> None:
        while not done.wait(seconds):
            with contextlib.suppress(OSError, ValueError):  # what it prints to is closed
                call()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
