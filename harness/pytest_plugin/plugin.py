"""The pytest plugin, as it is loaded in every project that has moefuzz installed: a guest, which changes nothing there.

It imports neither torch, Triton nor Hypothesis, registers no profile and touches no setting, until something asks for moefuzz: the run is
of our own suite, an option ``--moe-*`` is given, a profile of ours is named that the project has not, or a test calls ``check``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

from moefuzz.harness.base import pytest_process
from moefuzz.harness.base.environment import CORPUS_VARIABLE, KNOWN_ISSUES_VARIABLE, TARGET_VARIABLE

from .failure_reports import FailureReports
from .own_suite import OWN_SUITE
from .profile_names import HYPOTHESIS_OWN, NAMES, NEED_A_GPU


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("moefuzz", "fuzzing Mixture-of-Experts kernels")
    group.addoption(
        "--moe-target",
        metavar="NAME|FILE.py:ATTR|PKG.MOD:ATTR",
        action="append",
        help="a grouped GEMM, experts, or an MoE block to hold against the reference; may be given several times; `moefuzz targets` lists "
        f"names (default: {TARGET_VARIABLE}, else moefuzz's own Triton kernels)",
    )
    group.addoption(
        "--moe-known-issues",
        metavar="FILE",
        help=f"what is reported already, and is fuzzed around (default: {KNOWN_ISSUES_VARIABLE})",
    )
    group.addoption(
        "--moe-report-dir",
        metavar="FOLDER",
        type=Path,
        help="write a report of each distinct failure into a folder of its own there",
    )
    group.addoption(
        "--moe-isolate",
        action=argparse.BooleanOptionalAction,
        help="run cases in a process of their own, so that a crash, a hang and a CUDA error are failures like any other (default: with the "
        f"profiles {' and '.join(NEED_A_GPU)})",
    )

    group.addoption(
        "--moe-corpus",
        metavar="FILE",
        help=f"run the cases of a corpus too, a test for each; `moefuzz corpus` makes one (default: {CORPUS_VARIABLE})",
    )
    group.addoption(
        "--moe-time",
        metavar="DURATION",
        help="explore all properties for so long, as 90s, 10m or 8h, and past the first failure of each; then run the tests, which show "
        "what was found",
    )
    group.addoption(
        "--moe-sanitize",
        action=argparse.BooleanOptionalAction,
        help="watch every access of Triton kernels under the interpreter: outside, uninitialised, racing (default: with the profile ci)",
    )
    group.addoption(
        "--moe-coverage",
        action="store_true",
        help="print at the end which lines, branches and masks of Triton kernels were reached, by target",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    pytest_process.begin()
    own = config.stash.get(OWN_SUITE, False) or _by_package(config)
    profile = config.getoption("--hypothesis-profile", None)
    ours = profile in NAMES and (own or profile not in HYPOTHESIS_OWN)
    if own or ours or _any_option(config) or os.environ.get(KNOWN_ISSUES_VARIABLE):
        from .pytest_run import configure

        configure(config, own=own, profile=profile if ours else None)
    collects = not hasattr(config, "workerinput")
    config.pluginmanager.register(FailureReports(config.getoption("--moe-report-dir"), collects=collects), "moefuzz-failures")


def pytest_unconfigure() -> None:
    pytest_process.end()


def pytest_report_header(config: pytest.Config) -> Sequence[str]:
    if not config.stash.get(OWN_SUITE, False):
        return ()
    from .pytest_run import header

    return header()


@pytest.fixture(scope="module")
def moe_target(request: pytest.FixtureRequest) -> Generator[str]:
    """The target that a property is about, which is the default meanwhile."""
    from hypothesis import settings

    from moefuzz.harness.targets.registry import chosen
    from moefuzz.harness.verdict.sanitizing import sanitizing, why_not

    asked = request.config.getoption("--moe-sanitize")
    sanitize = settings.get_current_profile_name() == "ci" and not why_not() if asked is None else asked
    with chosen(request.param), sanitizing(sanitize):
        yield request.param


def _by_package(config: pytest.Config) -> bool:
    """Whether the suite is run by ``--pyargs moefuzz.tests...``, where its own conftest is read too late to choose a profile."""
    return any(arg.startswith("moefuzz.tests") for arg in config.args)


def _any_option(config: pytest.Config) -> bool:
    """Whether an option ``--moe-*`` is given."""
    return any(value not in (None, False) for name, value in vars(config.option).items() if name.startswith("moe_"))
