"""Set up a run of pytest that uses moefuzz: profiles, targets, reports, isolation."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.errors import InvalidArgument

from moefuzz.harness.base import hypothesis_profiles
from moefuzz.harness.base.environment import (
    CORPUS_VARIABLE,
    KNOWN_ISSUES_VARIABLE,
    TARGET_VARIABLE,
    VARIABLES,
    unknown_variables,
    why_not_writable,
)
from moefuzz.harness.base.exit_codes import INFRASTRUCTURE, USAGE
from moefuzz.harness.base.resources import LostDevice

from . import kernel_coverage, known_issues
from .own_suite import use_default_profile
from .profile_names import NAMES, NEED_A_GPU


def configure(config: pytest.Config, *, own: bool, profile: str | None) -> None:
    """Set up a run. ``own``: it is of moefuzz's own suite. ``profile``: the moefuzz profile that it names, if any.

    A profile that the project has registered itself is left alone. An error ends the run with one line.
    """
    profile = _profile_of_own_suite(config, profile) if own else _profile_of_a_project(profile)
    if profile in NEED_A_GPU:
        _want_gpu(profile)
    if own or profile is not None:
        config.add_cleanup(hypothesis_profiles.let_shrinking_end())
    _targets(config, own=own)
    _corpus(config, own=own)
    _findings(config)
    _cases(config, isolated_by_default=profile in NEED_A_GPU)


def _profile_of_own_suite(config: pytest.Config, profile: str | None) -> str | None:
    use_default_profile(config)
    config.addinivalue_line("markers", "heavy: takes long; run by `make test-heavy` and not by `make test`")
    config.addinivalue_line("markers", "not_asked: a property of a level of which no target was asked for")
    _want_profile(config.getoption("--hypothesis-profile", None))
    return profile


def _profile_of_a_project(profile: str | None) -> str | None:
    """Register the profile unless the project has one of that name; return its name, or None if moefuzz has nothing to register."""
    if profile is None or _is_registered(profile):
        return None
    hypothesis_profiles.register(profile)
    return profile


def _targets(config: pytest.Config, *, own: bool) -> None:
    """Put the targets of the run into the environment. A target that cannot be used ends the run."""
    if own or config.getoption("--moe-target"):
        _take_settings(config)
    if config.getoption("--moe-target"):
        os.environ[TARGET_VARIABLE] = " ".join(config.getoption("--moe-target"))
    if os.environ.get(TARGET_VARIABLE) and (own or config.getoption("--moe-target")):
        _target_names()


def _findings(config: pytest.Config) -> None:
    """Set up known issues and the folder of reports."""
    if config.getoption("--moe-known-issues") or os.environ.get(KNOWN_ISSUES_VARIABLE):
        known_issues.start(config)
    folder = config.getoption("--moe-report-dir")
    if folder is not None and (why := why_not_writable(folder)):
        pytest.exit(f"moefuzz: --moe-report-dir {folder}: {why}", USAGE)


def _cases(config: pytest.Config, *, isolated_by_default: bool) -> None:
    """Set up how cases run: isolation, sanitizer, exploring time and coverage."""
    isolate = config.getoption("--moe-isolate")
    if isolated_by_default if isolate is None else isolate:
        _isolate(config)
    if config.getoption("--moe-sanitize"):
        _want_interpreter()
    if config.getoption("--moe-time") and _runs_tests(config):
        _soak(config)
    if config.getoption("--moe-coverage"):
        kernel_coverage.start(config)


def _take_settings(config: pytest.Config) -> None:
    """Take the settings that neither an option nor a variable gives from the project's pyproject.toml."""
    from moefuzz.harness.base.project_settings import BadSettings, project_settings

    try:
        said = project_settings()
    except BadSettings as error:
        pytest.exit(f"moefuzz: {error}", USAGE)
    config.option.moe_target = config.option.moe_target or (None if os.environ.get(TARGET_VARIABLE) else list(said.targets) or None)
    config.option.moe_report_dir = config.option.moe_report_dir or said.report_dir
    if not os.environ.get(KNOWN_ISSUES_VARIABLE):
        config.option.moe_known_issues = config.option.moe_known_issues or said.known_issues


def header() -> Sequence[str]:
    """Return the suite's header: targets, device, versions, profile and database."""
    from moefuzz.harness.base.device import describe
    from moefuzz.harness.base.versions import versions

    return [
        f"moefuzz: {_target_names()} on {describe()}",
        f"moefuzz: {versions()}",
        f"moefuzz: profile {settings.get_current_profile_name()}, {settings().max_examples} examples, database {settings().database!r}",
        *(f"moefuzz: WARNING: unknown environment variable {name}; known are {', '.join(VARIABLES)}" for name in unknown_variables()),
    ]


def _is_registered(profile: str) -> bool:
    try:
        settings.get_profile(profile)
    except InvalidArgument:
        return False
    return True


def _want_profile(profile: str | None) -> None:
    if profile is not None and not _is_registered(profile):
        pytest.exit(f"moefuzz: no Hypothesis profile {profile!r}, known are {', '.join(('default', *NAMES))}", USAGE)


def _want_gpu(profile: str) -> None:
    from moefuzz.harness.base.device import describe, device

    if device().type != "cuda":
        pytest.exit(f"moefuzz: profile {profile!r} needs a CUDA GPU, but targets run on: {describe()}; the other profiles need none", USAGE)


def _target_names() -> str:
    """Return the names of the run's targets. A target that cannot be used ends the run with one line."""
    from moefuzz.harness.base.contract import LEVELS
    from moefuzz.harness.targets import BadTarget
    from moefuzz.harness.targets.registry import OWN_TARGETS, load_target, specs_of_environment

    specs = specs_of_environment() or [own[0] for own in OWN_TARGETS.values()]
    try:
        targets = [load_target(spec) for spec in specs]
    except BadTarget as error:
        pytest.exit(f"moefuzz: {error}", USAGE)
    for one in targets:
        if one.level not in LEVELS:
            pytest.exit(f"moefuzz: target {one.name!r} is of level {one.level}, of which there are no properties: use moefuzz fuzz", USAGE)
    return ", ".join(one.name for one in targets)


def _runs_tests(config: pytest.Config) -> bool:
    """Return whether this process runs tests; False in the controlling process of xdist."""
    return hasattr(config, "workerinput") or not getattr(config.option, "numprocesses", None)


def _isolate(config: pytest.Config) -> None:
    """Run cases in a worker until the run ends."""
    from moefuzz.harness.verdict.isolation import isolated

    if _runs_tests(config):
        lasting = ExitStack()
        try:
            lasting.enter_context(isolated())
        except LostDevice as error:
            pytest.exit(f"moefuzz: {error}", INFRASTRUCTURE)
        config.add_cleanup(lasting.close)


def _corpus(config: pytest.Config, *, own: bool) -> None:
    """Have pytest collect the tests of a corpus, whatever the folder of the run's own tests."""
    from moefuzz.harness.campaign.corpus import BadCorpus

    from .corpus import cases_of_run

    if config.getoption("--moe-corpus"):
        os.environ[CORPUS_VARIABLE] = str(Path(config.getoption("--moe-corpus")).absolute())
    elif not own:
        return
    if not os.environ.get(CORPUS_VARIABLE):
        return
    try:
        cases_of_run()
    except BadCorpus as error:
        pytest.exit(f"moefuzz: {error}", USAGE)
    spec = importlib.util.find_spec("moefuzz.tests.properties.test_corpus")
    if spec is not None and spec.origin is not None:
        config.args.append(spec.origin)


def _soak(config: pytest.Config) -> None:
    """Explore the properties before the tests run. Without an examples database the run ends with one line."""
    from moefuzz.harness.base.durations import BadDuration, duration

    from .soak import Soak

    try:
        config.pluginmanager.register(Soak(duration(config.getoption("--moe-time"))))
    except BadDuration as error:
        pytest.exit(f"moefuzz: --moe-time {error}", USAGE)
    if settings().database is None:
        pytest.exit("moefuzz: --moe-time needs a profile with an examples database, from which the tests take what was found", USAGE)


def _want_interpreter() -> None:
    from moefuzz.harness.verdict.sanitizing import why_not

    if why := why_not():
        pytest.exit(f"moefuzz: --moe-sanitize: {why}", USAGE)
