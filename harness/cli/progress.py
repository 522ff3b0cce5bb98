"""Show the progress of a short run: a bar in a terminal, else a line every ten seconds."""

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
"""How often a line is printed if there is no terminal."""


class RunProgress:
    """Shows what a run is ``doing``, and the number of examples and failures, including those of the unfinished turn."""

    def __init__(self, console: Console, tally: Tally, asked: RunSettings, examples: int | None) -> None:
        self.console, self.tally, self.asked, self.examples = console, tally, asked, examples
        self.doing = "starting"
        self.explorer: Explorer | None = None  # set when the run begins to explore

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show the progress within this context."""
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
        """Return how long the present case has been running, if that is long, else ""."""
        began = self.explorer.running_since if self.explorer is not None else None
        seconds = 0.0 if began is None else time.monotonic() - began
        limit = f", given up after {self.asked.case_seconds:.0f} s: --case-time" if self.asked.isolate else ""
        return f"; a case runs for {seconds:.0f} s{limit}" if seconds > _LINE_SECONDS / 2 else ""

    def _so_far(self) -> str:
        examples = max(self.tally.examples, self.explorer.examples if self.explorer is not None else 0)
        return f"{several(examples, 'example')}, {several(len(self.tally.failures), 'distinct failure')}"


@contextlib.contextmanager
def _every(seconds: float, call: Callable[[], None]) -> Iterator[None]:
    """Call a function periodically in a thread, within this context."""
    done = threading.Event()

    def loop() -> None:
        while not done.wait(seconds):
            with contextlib.suppress(OSError, ValueError):  # its output is closed
                call()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
