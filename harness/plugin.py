"""The pytest plugin: the profiles, ``--moe-target``, and the exit code 2 for what cannot run.

It is loaded in every project that has moefuzz installed, so it imports torch and Triton only where they are needed; the suite's own
``tests/conftest.py`` asks for the default profile and the header.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

from . import profiles
from .environment import TARGET_VARIABLE, VARIABLES, unknown_variables
from .failures import Failure

USAGE = 2


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("moefuzz", "fuzzing Mixture-of-Experts kernels")
    group.addoption(
        "--moe-target",
        metavar="PKG.MOD:ATTR",
        help=f"the grouped GEMM or MoE block to hold against the reference (default: {TARGET_VARIABLE}, else moefuzz's own Triton op)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    profiles.register()
    profile = config.getoption("--hypothesis-profile", None)
    known = ("default", *profiles.NAMES)
    if profile is not None and profile not in settings._profiles:
        pytest.exit(f"moefuzz: no Hypothesis profile {profile!r}, known are {', '.join(known)}", USAGE)
    if profile in profiles.NEED_A_GPU:
        _want_gpu(profile)
    if _by_package(config):
        use_default_profile(config)
    if config.getoption("--moe-target"):
        os.environ[TARGET_VARIABLE] = config.getoption("--moe-target")
    if os.environ.get(TARGET_VARIABLE):
        _target_name()


def pytest_report_header(config: pytest.Config) -> Sequence[str]:
    return header() if _by_package(config) else ()


def _by_package(config: pytest.Config) -> bool:
    """Whether the suite is run by ``--pyargs moefuzz.tests...``, where its own conftest is read too late to choose a profile."""
    return any(arg.startswith("moefuzz.tests") for arg in config.args)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Below Hypothesis' own text: the smallest case of each failure of a kernel."""
    report = yield
    failures = _failures(call.excinfo.value if call.excinfo else None)
    if failures:
        from .check import failure_of
        from .minimise import minimise
    for failure in failures:
        smallest = minimise(failure, failure_of)
        same = " (the same as Hypothesis' own)" if smallest.case == failure.case else ""
        report.sections.append((f"moefuzz: smallest case{same}", str(smallest)))
    return report


def _failures(error: BaseException | None) -> list[Failure]:
    if isinstance(error, BaseExceptionGroup):
        return [failure for inner in error.exceptions for failure in _failures(inner)]
    return [error] if isinstance(error, Failure) else []


def _target_name() -> str:
    """The target of the run; one that cannot be used ends the run with one line."""
    from .targets import BadTarget, default_target

    try:
        return default_target("grouped_gemm").name
    except BadTarget as error:
        pytest.exit(f"moefuzz: {error}", USAGE)


def _want_gpu(profile: str) -> None:
    from .device import describe, device

    if device().type != "cuda":
        pytest.exit(f"moefuzz: profile {profile!r} needs a CUDA GPU, but targets run on: {describe()}; the other profiles need none", USAGE)


def use_default_profile(config: pytest.Config) -> None:
    """For the suite's own conftest: load ``ci`` where CI is set, else ``dev``."""
    profiles.register()
    if config.getoption("--hypothesis-profile", None) is None:
        settings.load_profile("ci" if os.environ.get("CI") else "dev")


def header() -> Sequence[str]:
    """The suite's header: what runs where, in which versions, with which profile and database."""
    from .device import describe, versions

    return [
        f"moefuzz: {_target_name()} on {describe()}",
        f"moefuzz: {versions()}",
        f"moefuzz: profile {settings.get_current_profile_name()}, {settings().max_examples} examples, database {settings().database!r}",
        *(f"moefuzz: WARNING: unknown environment variable {name}; known are {', '.join(VARIABLES)}" for name in unknown_variables()),
    ]


def use_home(folder: Path) -> None:
    """Make ``folder`` the Hypothesis home, whatever the working directory."""
    set_hypothesis_home_dir(folder)
