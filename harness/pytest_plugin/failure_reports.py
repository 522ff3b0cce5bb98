"""Report failures of a kernel in pytest: the smallest case below each test, reports in folders, and a summary at the end.

Under xdist each worker writes its reports, and the controlling process writes the summary. The same facts are properties in JUnit's XML,
and lines of ``failures.ndjson`` beside the reports. Nothing is imported for this until a case has run.
"""

from __future__ import annotations

import functools
import json
import sys
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from moefuzz.harness.base.exit_codes import INFRASTRUCTURE

if TYPE_CHECKING:
    from moefuzz.harness.failures import Failure
    from moefuzz.harness.targets import Target

PROPERTY = "moefuzz_failure"


class FailureReports:
    """A pytest plugin for one run; ``folder`` is where reports are written, or None for no reports."""

    def __init__(self, folder: Path | None, *, collects: bool) -> None:
        self._named, self._collects = folder, collects
        self._folder = folder and folder.absolute()  # a target may change the working directory
        self._said: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add the smallest case of each failure of a kernel to a test's report, below the text of Hypothesis."""
        report = yield
        raised = call.excinfo.value if call.excinfo else None
        if "moefuzz.harness.verdict.check" not in sys.modules:  # no case has run
            return report
        from moefuzz.harness.base.resources import LostDevice

        if isinstance(raised, LostDevice):
            pytest.exit(f"moefuzz: {raised}", INFRASTRUCTURE)
        for failure in _failures(raised):
            smallest, said = self._reported(failure)
            same = " (the same as Hypothesis' own)" if smallest.case == failure.case else ""
            text = str(smallest) + (f"\n    report    {said['report']}" if said["report"] else "")
            report.sections.append((f"moefuzz: smallest case{same}", text))
            for properties in (item.user_properties, report.user_properties):  # for JUnit's XML, and for the controlling process
                properties.append((PROPERTY, json.dumps(said)))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties if self._collects and report.when == "call" else ():
            if name == PROPERTY:
                said = json.loads(str(value)) | {"test": report.nodeid}
                self._said[said["target"], said["failure"], said["case"]].append(said)
                if self._folder is not None:  # the path of the report, or why it could not be written
                    _append(self._folder / "failures.ndjson", json.dumps(said))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._said:
            return
        terminalreporter.section("moefuzz: what was found")
        for (target, failure, _), tests in sorted(self._said.items()):
            first = tests[0]
            met = f"{len(tests)} tests" if len(tests) > 1 else "1 test"
            terminalreporter.write_line(f"{failure}, in {target}: {first['finding']} ({met})", red=True)
            terminalreporter.write_line(f"    {first['replay']}")
            if first["report"]:
                terminalreporter.write_line(f"    {first['report']}")

    def _reported(self, failure: Failure) -> tuple[Failure, dict[str, Any]]:
        """Return the failure on its smallest case, and its facts for the summary."""
        from moefuzz.harness.failures.text import replay_line
        from moefuzz.harness.reduction.minimise import minimise
        from moefuzz.harness.report.write import write
        from moefuzz.harness.targets.registry import default_target, remembered_target
        from moefuzz.harness.verdict.check import failure_of
        from moefuzz.harness.verdict.isolation import confirmed

        target: Target | None = default_target(failure.case.level)
        if target is not None and target.name != failure.target:  # the test is about another target
            target = remembered_target(failure.target)
        smallest = failure
        if target is not None:
            fails = functools.partial(failure_of, target=target)
            smallest = confirmed(minimise(failure, fails), fails, target)
        said = {
            "target": smallest.target,
            "failure": smallest.title,
            "finding": smallest.finding,
            "case": repr(smallest.case),
            "replay": replay_line(smallest),
            "report": "",
        }
        if self._named is not None and self._folder is not None and target is not None:
            try:
                said["report"] = str(self._named / write(smallest, target, self._folder).name / "report.md")
            except Exception as error:  # an error in writing the report must not lose the failure
                said["report"] = f"could not be written: {type(error).__name__}: {error}"
        return smallest, said


def _failures(error: BaseException | None) -> list[Failure]:
    from moefuzz.harness.failures import Failure

    if isinstance(error, BaseExceptionGroup):
        return [failure for inner in error.exceptions for failure in _failures(inner)]
    return [error] if isinstance(error, Failure) else []


def _append(path: Path, line: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError:  # the terminal still shows it
        return
