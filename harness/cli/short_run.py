"""A short run: one process explores in a temporary folder, prints what it finds, and keeps only the reports."""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console

from moefuzz.harness.base.device import describe
from moefuzz.harness.base.exception_text import text_of
from moefuzz.harness.base.exit_codes import INFRASTRUCTURE, INTERNAL, INTERRUPTED
from moefuzz.harness.base.resources import LostDevice
from moefuzz.harness.base.signals import end_if_told, held, ignore
from moefuzz.harness.base.text import several
from moefuzz.harness.base.versions import versions
from moefuzz.harness.campaign.campaign import Campaign, Step
from moefuzz.harness.campaign.explore import Regimes
from moefuzz.harness.campaign.found import Found
from moefuzz.harness.campaign.reducing import Reduced
from moefuzz.harness.campaign.run_folder import RunFolder
from moefuzz.harness.campaign.settings import RunSettings
from moefuzz.harness.campaign.turn import Turn
from moefuzz.harness.cli.options import refuse
from moefuzz.harness.cli.tables import print_summary
from moefuzz.harness.report.formats import rendered
from moefuzz.harness.report.formats.github import append_step_summary
from moefuzz.harness.targets import BadTarget, Target
from moefuzz.harness.verdict.isolation import isolated
from moefuzz.harness.verdict.journal import InterruptedCase, interrupted_cases, written_ahead
from moefuzz.harness.verdict.known_issues import KnownIssues

from .fuzz_options import FuzzOptions
from .progress import RunProgress
from .tally import Tally

_REDUCING_SECONDS = 30.0
"""The time limit for reducing and explaining a failure is the time of exploring, but at least this."""


class ShortRun:
    """Fuzzes until the time is up, and prints each failure as it is found and again when it is minimised."""

    def __init__(self, asked: RunSettings, targets: list[Target], regimes: Regimes, issues: KnownIssues, options: FuzzOptions) -> None:
        self.asked, self.targets, self.regimes, self.issues, self.options = asked, targets, regimes, issues, options
        self.reports = options.report_dir.absolute()  # a target may change the working directory
        self.console = Console(stderr=options.format != "text")
        self.tally = Tally()
        self.progress = RunProgress(self.console, self.tally, asked, options.examples)
        self._ended_early = False

    def run(self) -> int:
        """Fuzz, and return the exit code. Failures found so far are printed however the run ends."""
        status = 0
        with tempfile.TemporaryDirectory(prefix="moefuzz-") as folder:
            campaign = self._campaign(Path(folder))
            try:
                self._explore(campaign)
            except KeyboardInterrupt:
                status = INTERRUPTED
            except LostDevice as error:
                status = INFRASTRUCTURE
                self.tally.notes.append(f"stopped: {error}")
            except BadTarget as error:  # seen by a case and not by the import
                refuse(str(error))
            except Exception as error:  # an error of moefuzz, or one caused by a target: print the failures found so far
                status = INTERNAL
                traceback.print_exc()
                self.tally.notes.append(f"stopped by an error of moefuzz itself: {type(error).__name__}: {text_of(error)[:300]}")
            finally:
                if sys.exc_info()[0] is None:
                    ignore()  # the rest is short, and calls no target
            if status and (turn := campaign.explorer.under_way()) is not None:
                self._take(turn)
            for step in () if self._ended_early else campaign.unfinished():
                self._unfinished(step)
        return self._ended(status)

    def _campaign(self, folder: Path) -> Campaign:
        asked, options = self.asked, self.options
        self._say(f"{' and '.join(asked.targets)} on {describe()}", style="bold")
        again = f", the same with --examples {options.examples}" if options.examples else ""
        self._say(f"{versions()}\nseed {asked.seed}{again}; every case runs in {'a worker' if asked.isolate else 'this'} process\n")
        each = max(_REDUCING_SECONDS, asked.seconds)
        return Campaign(RunFolder(folder, self.reports), self.targets, self.regimes, seed=str(asked.seed), seconds_each=min(each, 150.0))

    def _explore(self, campaign: Campaign) -> None:
        left = interrupted_cases(self.asked.targets)
        if left:
            self._say(f"{several(len(left), 'case')} that ran when an earlier run ended {'comes' if len(left) == 1 else 'come'} first\n")
        with self.asked.in_force(self.issues, isolated_already=True), self.progress.shown(), written_ahead():
            for step in self._steps(campaign, left):
                with held():
                    self._take(step)
                end_if_told()
                if self.options.max_failures and len(self.tally.failures) >= self.options.max_failures:
                    self._enough(campaign)
                    return

    def _enough(self, campaign: Campaign) -> None:
        """Note the other failures that were found and are not reduced."""
        self._ended_early = True
        self.tally.notes.append(f"ended after {several(len(self.tally.failures), 'failure')}, as --max-failures asks")
        self.tally.notes += [f"also found, and not reduced: {one.failure.title} on {one.case!r}" for one in campaign.waiting()]

    def _steps(self, campaign: Campaign, left: list[InterruptedCase]) -> Iterator[Step]:
        """Yield the steps: the cases during which an earlier run ended, in a worker process, then the run itself."""
        with isolated(self.asked.case_seconds) if left and not self.asked.isolate else nullcontext():
            yield from campaign.again(left)
        self.progress.doing, self.progress.explorer = "exploring", campaign.explorer
        yield from campaign.steps(time.monotonic() + self.asked.seconds, examples=self.options.examples, apart=True)

    def _take(self, step: Step) -> None:
        if isinstance(step, Turn):
            self.tally.count(step)
        elif isinstance(step, Found):
            title, (examples, seconds) = step.failure.title, self._until(step)
            self._say(f"found {title} in regime {step.regime} after {several(examples, 'example')} and {seconds:.0f} s, reducing it\n")
            self.progress.doing = f"reducing {title}"
        else:
            self.progress.doing = "exploring"
            if step.failure is None or step.found.outcome in ("same", "gone"):
                self._say(f"not reported separately: {step.found.failure.title}: {step.said}\n", style="dim")
                if step.found.outcome == "gone":
                    self.tally.notes.append(f"{step.found.failure.title} on {step.found.case!r} has no report of its own: {step.said}")
                return
            self.console.print(f"[red]FAILED[/] in regime {step.found.regime}, minimised:\n", highlight=False)
            self._report(step)

    def _unfinished(self, step: Reduced) -> None:
        self.console.print(f"[red]FAILED[/] in regime {step.found.regime}, not minimised to the end:\n", highlight=False)
        self._report(step)

    def _report(self, step: Reduced) -> None:
        report = str(self.options.report_dir / step.found.report) if step.found.report else ""  # from where the run was started
        self.tally.fail(step, report, *self._until(step.found))
        where = f"{report}/report.md" if report else "could not be written"
        where += f": {step.said}" if not report else f", with the failure alone: {step.said}" if step.said else ""
        self._say(f"{step.failure}\n    report    {where}\n")

    def _until(self, found: Found) -> tuple[int, float]:
        """Return the examples, and the seconds, after which a failure was found."""
        met = self.progress.explorer.met if self.progress.explorer is not None else {}
        examples, at = met.get(found.key, (self.tally.examples, time.monotonic()))
        return examples, at - self.tally.began

    def _ended(self, status: int) -> int:
        """Print the outcome; return the exit code."""
        if status == INTERRUPTED:
            self._say("interrupted")
        early = self._ended_early or status == INTERRUPTED
        unreached = () if early else self.tally.unreached(self.targets, self.regimes)
        outcome = self.tally.outcome(self.asked, status, unreached, self.issues.report())
        print_summary(self.console, outcome)
        if self.options.format != "text":
            self.options.document.write(rendered(outcome, self.options.format))
            self.options.document.flush()
        if self.options.format == "github":
            try:
                append_step_summary(outcome)
            except OSError as error:
                self._say(f"the summary of the step could not be written: {error.strerror}")
        return outcome.status

    def _say(self, text: str, style: str | None = None) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True, style=style)
