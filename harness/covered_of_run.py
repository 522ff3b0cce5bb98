"""What kernels reached in a run of pytest: collected in every process, printed at the end."""

from __future__ import annotations

import pickle
from contextlib import ExitStack
from typing import Any

import pytest

from . import covered
from .exit_codes import USAGE

_REACHED = "moefuzz_coverage"


def start(config: pytest.Config) -> None:
    """Collect until the run ends."""
    from .sanitized import why_not

    if why := why_not("--moe-coverage"):
        pytest.exit(f"moefuzz: {why}", USAGE)
    reached: covered.Covered = {}
    config.pluginmanager.register(_CoveredOfRun(config, reached))
    lasting = ExitStack()
    lasting.enter_context(covered.covering(reached))
    config.add_cleanup(lasting.close)


class _CoveredOfRun:
    """Collects what the workers of xdist reached, and prints it."""

    def __init__(self, config: pytest.Config, reached: covered.Covered) -> None:
        self.config, self.reached = config, reached

    def pytest_sessionfinish(self) -> None:
        output: dict[str, Any] | None = getattr(self.config, "workeroutput", None)
        if output is not None:
            output[_REACHED] = pickle.dumps(self.reached)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        sent: bytes | None = getattr(node, "workeroutput", {}).get(_REACHED)  # a worker that crashed sends none
        if sent is not None:
            covered.add(pickle.loads(sent))  # noqa: S301 - from a process of this run

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        from rich.console import Console

        terminalreporter.section("moefuzz: what kernels reached")
        console = Console(file=terminalreporter._tw._file)
        for table in covered.tables(self.reached):
            console.print(table)
        if not self.reached:
            terminalreporter.write_line("no case ran")
