"""Known issues in a run of pytest: read once, applied in every process, and summarised at the end."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from moefuzz.harness.base.environment import KNOWN_ISSUES_VARIABLE
from moefuzz.harness.base.exit_codes import USAGE

_COUNTS = "moefuzz_known_issues"


def start(config: pytest.Config) -> None:
    """Apply the file of ``--moe-known-issues``, or of the environment variable, until the run ends."""
    from moefuzz.harness.verdict.known_issues import BadKnownIssues, KnownIssues, in_force

    try:
        issues = KnownIssues.read(Path(config.getoption("--moe-known-issues") or os.environ[KNOWN_ISSUES_VARIABLE]))
    except BadKnownIssues as error:
        pytest.exit(f"moefuzz: {error}", USAGE)
    config.pluginmanager.register(_KnownIssuesOfRun(config, issues))
    lasting = ExitStack()
    lasting.enter_context(in_force(issues))
    config.add_cleanup(lasting.close)


class _KnownIssuesOfRun:
    """Collects the counts of the workers of xdist, and prints at the end which entries covered nothing."""

    def __init__(self, config: pytest.Config, issues: Any) -> None:
        self.config, self.issues = config, issues

    def pytest_sessionfinish(self) -> None:
        counts: dict[str, Any] | None = getattr(self.config, "workeroutput", None)
        if counts is not None:
            counts[_COUNTS] = [(entry.matched, entry.failed, entry.nearest) for entry in self.issues.entries]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        counts = getattr(node, "workeroutput", {}).get(_COUNTS, ())
        for entry, (matched, failed, nearest) in zip(self.issues.entries, counts, strict=False):
            entry.matched += matched
            entry.failed += failed
            entry.nearest = max(entry.nearest, tuple(nearest))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self.issues.report():
            terminalreporter.write_line(f"moefuzz: {line}")
        covered = sum(entry.failed for entry in self.issues.entries)
        terminalreporter.write_line(f"moefuzz: {covered} failures, those while shrinking included, were known issues")
