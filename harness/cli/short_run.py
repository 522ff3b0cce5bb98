"""A short run: one process explores into a folder that is thrown away; reports stay. What it prints, and what it ends with."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from moefuzz.harness.base.device import describe
from moefuzz.harness.base.exception_text import text_of
from moefuzz.harness.base.exit_codes import FOUND, INFRASTRUCTURE, INTERNAL, INTERRUPTED, NOTHING_RAN
from moefuzz.harness.base.resources import LostDevice
from moefuzz.harness.base.signals import end_if_told, held, ignore
from moefuzz.harness.base.text import several
from moefuzz.harness.base.versions import versions
from moefuzz.harness.campaign.campaign import Campaign, Step
from moefuzz.harness.campaign.explore import Explorer, Regimes
from moefuzz.harness.campaign.found import Found
from moefuzz.harness.campaign.reducing import Reduced
from moefuzz.harness.campaign.run_folder import RunFolder
from moefuzz.harness.campaign.settings import Asked
from moefuzz.harness.campaign.turn import Turn
from moefuzz.harness.cli.options import refuse
from moefuzz.harness.cli.tables import print_summary
from moefuzz.harness.failures.text import replay_line
from moefuzz.harness.report.formats import rendered
from moefuzz.harness.report.formats.github import append_step_summary
from moefuzz.harness.run_log.outcome import RegimeCount, ReportedFailure, RunOutcome
from moefuzz.harness.targets import BadTarget, Target
from moefuzz.harness.verdict.isolation import isolated
from moefuzz.harness.verdict.journal import LeftOver, left_over, written_ahead
from moefuzz.harness.verdict.known_issues import KnownIssues

from .fuzz_options import FuzzOptions

_LINE_SECONDS = 10.0
"""How often a line is printed where there is no terminal."""

_REDUCING_SECONDS = 30.0
"""A failure is reduced and explained for so long at least, and for as long as the run explores at most."""


class ShortRun:
    """Fuzzes until the time is up, and prints each failure as it is found and again when it is minimised."""

    def __init__(self, asked: Asked, targets: list[Target], regimes: Regimes, issues: KnownIssues, options: FuzzOptions) -> None:
        self.asked, self.targets, self.regimes, self.issues, self.options = asked, targets, regimes, issues, options
        self.reports = options.report_dir.absolute()  # a target may change the working directory
        self.console = Console(stderr=options.format != "text")
        self.turns: dict[tuple[str, str], Turn] = {}
        self.failures: list[ReportedFailure] = []
        self.notes: list[str] = []
        self.began = time.monotonic()
        self._explorer: Explorer | None = None
        self._ended_early = False
        self._doing = "starting"

    def run(self) -> int:
        """Do it; the exit code. What was found is printed whatever ends the run."""
        status = 0
        with tempfile.TemporaryDirectory(prefix="moefuzz-") as folder:
            campaign = self._campaign(Path(folder))
            try:
                self._explore(campaign)
            except KeyboardInterrupt:
                status = INTERRUPTED
            except LostDevice as error:
                status = INFRASTRUCTURE
                self.notes.append(f"stopped: {error}")
            except BadTarget as error:  # which a case finds, and an import does not
                refuse(str(error))
            except Exception as error:  # of moefuzz, or of what a target did to it: what was found is printed all the same
                status = INTERNAL
                traceback.print_exc()
                self.notes.append(f"stopped by an error of moefuzz itself: {type(error).__name__}: {text_of(error)[:300]}")
            finally:
                if sys.exc_info()[0] is None:
                    ignore()  # what follows takes no time, and runs nothing of a target
            if status and (turn := campaign.explorer.under_way()) is not None:
                self._take(turn)
            for step in () if self._ended_early else campaign.unfinished():
                self._unfinished(step)
        return self._ended(status)

    def _campaign(self, folder: Path) -> Campaign:
        asked, options = self.asked, self.options
        self._say(f"{' and '.join(asked.targets)} on {describe()}", style="bold")
        again = f", the same with --examples {options.examples}" if options.examples else ""
        self._say(f"{versions()}\nseed {asked.seed}{again}; every case runs {'beside' if asked.isolate else 'in'} this process\n")
        each = max(_REDUCING_SECONDS, asked.seconds)
        return Campaign(RunFolder(folder, self.reports), self.targets, self.regimes, seed=str(asked.seed), seconds_each=min(each, 150.0))

    def _explore(self, campaign: Campaign) -> None:
        left = left_over(self.asked.targets)
        if left:
            self._say(f"{several(len(left), 'case')} that ran when an earlier run ended {'comes' if len(left) == 1 else 'come'} first\n")
        with self.asked.in_force(self.issues, isolated_already=True), self._progress(), written_ahead():
            for step in self._steps(campaign, left):
                with held():
                    self._take(step)
                end_if_told()
                if self.options.max_failures and len(self.failures) >= self.options.max_failures:
                    self._enough(campaign)
                    return

    def _enough(self, campaign: Campaign) -> None:
        """Name what was found besides, and is not reduced any more."""
        self._ended_early = True
        self.notes.append(f"ended after {several(len(self.failures), 'failure')}, as --max-failures asks")
        self.notes += [f"found besides, and not reduced: {one.failure.title} on {one.case!r}" for one in campaign.waiting()]

    def _steps(self, campaign: Campaign, left: list[LeftOver]) -> Iterator[Step]:
        """What an earlier run did not survive, in a process of its own, then the run."""
        with isolated(self.asked.case_seconds) if left and not self.asked.isolate else nullcontext():
            yield from campaign.again(left)
        self._doing, self._explorer = "exploring", campaign.explorer
        yield from campaign.steps(time.monotonic() + self.asked.seconds, examples=self.options.examples, apart=True)

    def _take(self, step: Step) -> None:
        if isinstance(step, Turn):
            self.turns.setdefault((step.target, step.regime), Turn(step.target, step.level, step.regime)).add(step)
        elif isinstance(step, Found):
            title, (examples, seconds) = step.failure.title, self._until(step)
            self._say(f"found {title} in regime {step.regime} after {several(examples, 'example')} and {seconds:.0f} s, reducing it\n")
            self._doing = f"reducing {title}"
        else:
            self._doing = "exploring"
            if step.failure is None or step.found.outcome in ("same", "gone"):
                self._say(f"no failure of its own: {step.found.failure.title}: {step.said}\n", style="dim")
                if step.found.outcome == "gone":
                    self.notes.append(f"{step.found.failure.title} on {step.found.case!r} came to nothing: {step.said}")
                return
            self.console.print(f"[red]FAILED[/] in regime {step.found.regime}, minimised:\n", highlight=False)
            self._report(step)

    def _unfinished(self, step: Reduced) -> None:
        self.console.print(f"[red]FAILED[/] in regime {step.found.regime}, not minimised to the end:\n", highlight=False)
        self._report(step)

    def _report(self, step: Reduced) -> None:
        assert step.failure is not None
        failure, found = step.failure, step.found
        examples, seconds = self._until(found)
        self.failures.append(
            ReportedFailure(
                failure.target, failure.case.level, found.regime, str(failure.kind), failure.tensor, failure.finding, repr(failure.case),
                str(failure), replay_line(failure), self._shown(found.report), examples, seconds, step.finished,
            )
        )  # fmt: skip
        where = f"{self.failures[-1].report}/report.md" if found.report else f"could not be written: {step.said}"
        self._say(f"{failure}\n    report    {where}\n")

    def _until(self, found: Found) -> tuple[int, float]:
        """The examples, and the seconds, after which a failure was found."""
        met = self._explorer.met if self._explorer is not None else {}
        examples, at = met.get(found.key, (self.examples, time.monotonic()))
        return examples, at - self.began

    def _shown(self, report: str | None) -> str:
        """The folder of a report, as a path from where the run was started, if it lies below."""
        return str(self.options.report_dir / report) if report else ""

    def _ended(self, status: int) -> int:
        """Print what there is to say at the end; the exit code."""
        if status == INTERRUPTED:
            self._say("interrupted")
        drawn = [(one.name, name) for one in self.targets for name, regime in self.regimes[one.level].items() if regime(one) is not None]
        early = self._ended_early or status == INTERRUPTED
        unreached = () if early else tuple(each for each in drawn if each not in self.turns)
        notes = [*self.notes, *self.issues.report()]
        status = status or (FOUND if self.failures else 0 if self.examples else NOTHING_RAN)
        outcome = RunOutcome(
            self.asked.targets, describe(), versions(), self.asked.seed, self.seconds, status, tuple(map(_count, self.turns.values())),
            tuple(self.failures), unreached, tuple(notes),
        )  # fmt: skip
        print_summary(self.console, outcome)
        if self.options.format != "text":
            self.options.document.write(rendered(outcome, self.options.format))
            self.options.document.flush()
        if self.options.format == "github":
            try:
                append_step_summary(outcome)
            except OSError as error:
                self._say(f"the summary of the step could not be written: {error.strerror}")
        return status

    @property
    def examples(self) -> int:
        return sum(turn.examples for turn in self.turns.values())

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def _say(self, text: str, style: str | None = None) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True, style=style)

    @contextlib.contextmanager
    def _progress(self) -> Iterator[None]:
        """Show how far the run is: by a bar, or by a line every ten seconds where there is no terminal."""
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[done]}"), TimeRemainingColumn())
            with Progress(*columns, console=self.console, transient=True) as progress:
                total = self.asked.seconds if self.options.examples is None else float(self.options.examples)
                task = progress.add_task("starting", total=total, done="")

                def update() -> None:
                    done = self.seconds if self.options.examples is None else self.examples
                    progress.update(task, completed=done, description=self._doing, done=self._so_far())

                with _every(0.5, update):
                    yield
        else:
            with _every(_LINE_SECONDS, lambda: self._say(f"{self.seconds:.0f} s: {self._so_far()}; {self._doing}{self._long_case()}")):
                yield

    def _long_case(self) -> str:
        """For how long a case runs that takes long."""
        began = self._explorer.running_since if self._explorer is not None else None
        seconds = 0.0 if began is None else time.monotonic() - began
        limit = f", given up after {self.asked.case_seconds:.0f} s: --case-time" if self.asked.isolate else ""
        return f"; a case runs for {seconds:.0f} s{limit}" if seconds > _LINE_SECONDS / 2 else ""

    def _so_far(self) -> str:
        """Examples of the turn under way included."""
        examples = max(self.examples, self._explorer.examples if self._explorer is not None else 0)
        return f"{several(examples, 'example')}, {several(len(self.failures), 'distinct failure')}"


@contextlib.contextmanager
def _every(seconds: float, call: object) -> Iterator[None]:
    """Call something again and again in a thread, while this lasts."""
    assert callable(call)
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


def _count(turn: Turn) -> RegimeCount:
    tensor, share = max(turn.shares.items(), key=lambda item: item[1], default=("", 0.0))
    return RegimeCount(
        turn.target,
        turn.level,
        turn.regime,
        turn.examples,
        turn.failing,
        turn.known,
        turn.refused,
        turn.no_room,
        turn.seconds,
        share,
        tensor,
    )
