"""The pytest plugin: the profiles, ``--moe-target``, and the exit code 2 for what cannot run.

It is loaded in every project that has moefuzz installed, so it imports torch and Triton only where they are needed; the suite's own
``tests/conftest.py`` asks for the default profile and with it for the header.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

from . import covered_of_run, known_issues_of_run, profiles
from .environment import CORPUS_VARIABLE, KNOWN_ISSUES_VARIABLE, TARGET_VARIABLE, VARIABLES, unknown_variables, why_not_writable
from .exit_codes import INFRASTRUCTURE, USAGE
from .pytest_reports import FailureReports
from .resources import LostDevice

_OWN_SUITE = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("moefuzz", "fuzzing Mixture-of-Experts kernels")
    group.addoption(
        "--moe-target",
        metavar="NAME|PKG.MOD:ATTR",
        action="append",
        help="a grouped GEMM, experts, or an MoE block to hold against the reference; may be given several times; `moefuzz targets` lists "
        f"names (default: {TARGET_VARIABLE}, else moefuzz's own Triton kernels)",
    )
    group.addoption(
        "--moe-known-issues",
        metavar="FILE",
        default=os.environ.get(KNOWN_ISSUES_VARIABLE),
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
        f"profiles {' and '.join(profiles.NEED_A_GPU)})",
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
    profiles.register()
    config.addinivalue_line("markers", "heavy: takes long; run by `make test-heavy` and not by `make test`")
    config.addinivalue_line("markers", "not_asked: a property of a level of which no target was asked for")
    profile = config.getoption("--hypothesis-profile", None)
    known = ("default", *profiles.NAMES)
    if profile is not None and profile not in settings._profiles:
        pytest.exit(f"moefuzz: no Hypothesis profile {profile!r}, known are {', '.join(known)}", USAGE)
    if profile in profiles.NEED_A_GPU:
        _want_gpu(profile)
    if _by_package(config):
        use_default_profile(config)
    if config.getoption("--moe-target"):
        os.environ[TARGET_VARIABLE] = " ".join(config.getoption("--moe-target"))
    if os.environ.get(TARGET_VARIABLE):
        _target_names()
    if config.getoption("--moe-corpus"):
        os.environ[CORPUS_VARIABLE] = str(Path(config.getoption("--moe-corpus")).absolute())
    if os.environ.get(CORPUS_VARIABLE):
        _want_corpus(config)
    if config.getoption("--moe-known-issues"):
        known_issues_of_run.start(config)
    _report(config)
    isolate = config.getoption("--moe-isolate")
    if profile in profiles.NEED_A_GPU if isolate is None else isolate:
        _isolate(config)
    if config.getoption("--moe-sanitize"):
        _want_interpreter()
    if config.getoption("--moe-time") and _runs_tests(config):
        _soak(config)
    if config.getoption("--moe-coverage"):
        covered_of_run.start(config)


def pytest_report_header(config: pytest.Config) -> Sequence[str]:
    return header() if config.stash.get(_OWN_SUITE, False) else ()


def _by_package(config: pytest.Config) -> bool:
    """Whether the suite is run by ``--pyargs moefuzz.tests...``, where its own conftest is read too late to choose a profile."""
    return any(arg.startswith("moefuzz.tests") for arg in config.args)


@pytest.fixture(scope="module")
def moe_target(request: pytest.FixtureRequest) -> Generator[str]:
    """The target that a property is about, which is the default meanwhile."""
    from .sanitized import sanitizing, why_not
    from .target_names import chosen

    asked = request.config.getoption("--moe-sanitize")
    sanitize = settings.get_current_profile_name() == "ci" and not why_not() if asked is None else asked
    with chosen(request.param), sanitizing(sanitize):
        yield request.param


def _target_names() -> str:
    """The targets of the run; one that cannot be used ends the run with one line."""
    from .target_names import OWN_TARGETS, load_target
    from .targets import BadTarget

    specs = os.environ.get(TARGET_VARIABLE, "").split() or [own[0] for own in OWN_TARGETS.values()]
    try:
        return ", ".join(load_target(spec).name for spec in specs)
    except BadTarget as error:
        pytest.exit(f"moefuzz: {error}", USAGE)


def _runs_tests(config: pytest.Config) -> bool:
    """False in the process of xdist that runs no test itself."""
    return hasattr(config, "workerinput") or not getattr(config.option, "numprocesses", None)


def _report(config: pytest.Config) -> None:
    """Have failures of kernels reported; a folder for them that cannot be written to ends the run with one line."""
    folder = config.getoption("--moe-report-dir")
    if folder is not None and (why := why_not_writable(folder)):
        pytest.exit(f"moefuzz: --moe-report-dir {folder}: {why}", USAGE)
    config.pluginmanager.register(FailureReports(folder, collects=not hasattr(config, "workerinput")), "moefuzz-failures")


def _write_ahead(config: pytest.Config) -> None:
    """Write each case before it runs, until the run ends; once, however often it is asked for."""
    from .running import written_ahead

    if _runs_tests(config) and not config.stash.get(_OWN_SUITE, False):
        lasting = ExitStack()
        lasting.enter_context(written_ahead())
        config.add_cleanup(lasting.close)


def _isolate(config: pytest.Config) -> None:
    """Run cases in a worker until the run ends."""
    from .isolation import isolated

    if _runs_tests(config):
        lasting = ExitStack()
        try:
            lasting.enter_context(isolated())
        except LostDevice as error:
            pytest.exit(f"moefuzz: {error}", INFRASTRUCTURE)
        config.add_cleanup(lasting.close)


def _want_corpus(config: pytest.Config) -> None:
    """Have its tests collected, wherever this run's own tests lie."""
    from .corpus_of_run import cases_of_run
    from .runs.corpus import BadCorpus

    try:
        cases_of_run()
    except BadCorpus as error:
        pytest.exit(f"moefuzz: {error}", USAGE)
    spec = importlib.util.find_spec("moefuzz.tests.properties.test_corpus")
    if spec is not None and spec.origin is not None:
        config.args.append(spec.origin)


def _soak(config: pytest.Config) -> None:
    """Explore the properties before the tests run; without a place for what is found the run ends with one line."""
    from .options import BadDuration, duration
    from .soak import Soak

    try:
        config.pluginmanager.register(Soak(duration(config.getoption("--moe-time"))))
    except BadDuration as error:
        pytest.exit(f"moefuzz: --moe-time {error}", USAGE)
    if settings().database is None:
        pytest.exit("moefuzz: --moe-time needs a profile with an examples database, from which the tests take what was found", USAGE)


def _want_interpreter() -> None:
    from .sanitized import why_not

    if why := why_not():
        pytest.exit(f"moefuzz: --moe-sanitize: {why}", USAGE)


def _want_gpu(profile: str) -> None:
    from .device import describe, device

    if device().type != "cuda":
        pytest.exit(f"moefuzz: profile {profile!r} needs a CUDA GPU, but targets run on: {describe()}; the other profiles need none", USAGE)


def use_default_profile(config: pytest.Config) -> None:
    """For a run of moefuzz's own suite: show the header; load ``ci`` where CI is set, else ``dev``, if no profile is asked for."""
    _write_ahead(config)
    config.stash[_OWN_SUITE] = True
    profiles.register()
    if config.getoption("--hypothesis-profile", None) is None:
        settings.load_profile("ci" if os.environ.get("CI") else "dev")


def header() -> Sequence[str]:
    """The suite's header: what runs where, in which versions, with which profile and database."""
    from .device import describe, versions

    return [
        f"moefuzz: {_target_names()} on {describe()}",
        f"moefuzz: {versions()}",
        f"moefuzz: profile {settings.get_current_profile_name()}, {settings().max_examples} examples, database {settings().database!r}",
        *(f"moefuzz: WARNING: unknown environment variable {name}; known are {', '.join(VARIABLES)}" for name in unknown_variables()),
    ]


def use_home(folder: Path) -> None:
    """Make ``folder`` the Hypothesis home, whatever the working directory."""
    set_hypothesis_home_dir(folder)
