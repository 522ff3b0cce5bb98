"""The pytest plugin, which pytest loads in every project that has moefuzz installed; it changes nothing there unless it is used.

It imports neither torch, Triton nor Hypothesis, registers no profile and changes no setting, unless the run is one of moefuzz's own suite,
an option ``--moe-*`` is given, a profile of moefuzz is named that the project does not have, or a test calls ``check``.
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
        help="a grouped GEMM, experts, or an MoE block to test; may be given several times; `moefuzz targets` lists names "
        f"(default: {TARGET_VARIABLE}, else moefuzz's own Triton kernels)",
    )
    group.addoption(
        "--moe-known-issues",
        metavar="FILE",
        help=f"TOML file of failures that are known already and not reported again (default: {KNOWN_ISSUES_VARIABLE})",
    )
    group.addoption(
        "--moe-report-dir",
        metavar="FOLDER",
        type=Path,
        help="write a report of each distinct failure into a subfolder of this folder",
    )
    group.addoption(
        "--moe-isolate",
        action=argparse.BooleanOptionalAction,
        help="run cases in a worker process, so that a crash, a hang or a CUDA error is a failure like any other (default: with the "
        f"profiles {' and '.join(NEED_A_GPU)})",
    )

    group.addoption(
        "--moe-corpus",
        metavar="FILE",
        help=f"also run the cases of a corpus, one test for each; `moefuzz corpus` makes one (default: {CORPUS_VARIABLE})",
    )
    group.addoption(
        "--moe-time",
        metavar="DURATION",
        help="before the tests, explore all properties for this long, as 90s, 10m or 8h, beyond the first failure of each; the tests then "
        "show what was found",
    )
    group.addoption(
        "--moe-sanitize",
        action=argparse.BooleanOptionalAction,
        help="check each memory access of Triton kernels under the interpreter: out of bounds, uninitialised, data race (default: with the "
        "profile ci)",
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
    """Yield the name of the target that a property is about, which is the default target during the test."""
    from hypothesis import settings

    from moefuzz.harness.targets.registry import chosen
    from moefuzz.harness.verdict.sanitizing import sanitizing, why_not

    asked = request.config.getoption("--moe-sanitize")
    sanitize = settings.get_current_profile_name() == "ci" and not why_not() if asked is None else asked
    with chosen(request.param), sanitizing(sanitize):
        yield request.param


def _by_package(config: pytest.Config) -> bool:
    """Return whether the run is ``--pyargs moefuzz.tests...``, for which the suite's conftest is read too late to choose a profile."""
    return any(arg.startswith("moefuzz.tests") for arg in config.args)


def _any_option(config: pytest.Config) -> bool:
    """Return whether an option ``--moe-*`` is given."""
    return any(value not in (None, False) for name, value in vars(config.option).items() if name.startswith("moe_"))
