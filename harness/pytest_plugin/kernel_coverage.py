"""Coverage of kernels in a run of pytest: collected in every process, printed at the end."""

from __future__ import annotations

import pickle
from contextlib import ExitStack
from typing import Any

import pytest

from moefuzz.harness.base.exit_codes import USAGE
from moefuzz.harness.base.hypothesis_internals import file_of
from moefuzz.harness.verdict import kernel_coverage

_REACHED = "moefuzz_coverage"


def start(config: pytest.Config) -> None:
    """Collect coverage until the run ends."""
    from moefuzz.harness.verdict.sanitizing import why_not

    if why := why_not("--moe-coverage"):
        pytest.exit(f"moefuzz: {why}", USAGE)
    reached: kernel_coverage.Covered = {}
    config.pluginmanager.register(_CoveredOfRun(config, reached))
    lasting = ExitStack()
    lasting.enter_context(kernel_coverage.covering(reached))
    config.add_cleanup(lasting.close)


class _CoveredOfRun:
    """Collects the coverage of the workers of xdist, and prints it."""

    def __init__(self, config: pytest.Config, reached: kernel_coverage.Covered) -> None:
        self.config, self.reached = config, reached

    def pytest_sessionfinish(self) -> None:
        output: dict[str, Any] | None = getattr(self.config, "workeroutput", None)
        if output is not None:
            output[_REACHED] = pickle.dumps(self.reached)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        sent: bytes | None = getattr(node, "workeroutput", {}).get(_REACHED)  # a worker that crashed sends none
        if sent is not None:
            kernel_coverage.add(pickle.loads(sent))  # noqa: S301 - from a process of this run

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        from rich.console import Console

        terminalreporter.section("moefuzz: what kernels reached")
        console = Console(file=file_of(terminalreporter))
        for table in kernel_coverage.tables(self.reached):
            console.print(table)
        if not self.reached:
            terminalreporter.write_line("no case ran")
