"""How a run of ``moefuzz fuzz`` begins: what is asked for is looked at as a whole, and what cannot run ends with one line."""

from __future__ import annotations

import os
import shlex
import socket
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from moefuzz.harness.base.device import device, one_thread
from moefuzz.harness.base.exit_codes import INFRASTRUCTURE
from moefuzz.harness.base.limits import CASE_SECONDS
from moefuzz.harness.base.resources import LostDevice
from moefuzz.harness.campaign import gpus
from moefuzz.harness.campaign.chosen_regimes import NoSuchRegime, chosen_regimes
from moefuzz.harness.campaign.example_database import CannotShare, database_of
from moefuzz.harness.campaign.explore import Regimes
from moefuzz.harness.campaign.ray_cluster import Cluster, NoCluster, connect
from moefuzz.harness.campaign.run_folder import RunFolder, Taken
from moefuzz.harness.campaign.settings import Asked
from moefuzz.harness.campaign.supervisor import Supervisor, slots
from moefuzz.harness.cli.options import named_issues, named_target, refuse
from moefuzz.harness.report.folder import Report, read_all, reports_in
from moefuzz.harness.run_log.events import BadRun
from moefuzz.harness.targets import BadTarget, Target
from moefuzz.harness.targets.registry import OWN_TARGETS
from moefuzz.harness.verdict.isolation import Isolation, isolated
from moefuzz.harness.verdict.kernel_coverage import printed
from moefuzz.harness.verdict.sanitizing import why_not
from moefuzz.strategies.regimes import REGIMES

from . import long_run
from .fuzz_options import FuzzOptions
from .short_run import ShortRun

_DEFAULT_SECONDS = 120.0


def short(options: FuzzOptions) -> int:
    """A run of this process, with a worker for cases; what to end with."""
    one_thread()
    issues = named_issues(options.known)
    _want_interpreter(options)
    isolate = options.isolate is not False
    case_seconds = options.case_seconds or CASE_SECONDS
    try:
        with isolated(case_seconds) if isolate else nullcontext() as isolation, printed(wanted=options.coverage):
            targets = [_loaded(spec, isolation) for spec in _specs(options.specs)]
            asked = Asked(
                tuple(target.name for target in targets), _seconds(options), isolate, case_seconds, options.sanitize,
                seed=options.by_chance if options.seed is None else options.seed, only_regimes=options.regimes,
            )  # fmt: skip
            return ShortRun(asked, targets, _regimes(options.regimes, targets), issues, options).run()
    except LostDevice as error:
        refuse(str(error), INFRASTRUCTURE)


def long(options: FuzzOptions) -> int:
    """A run of several processes in a folder; what to end with."""
    for option, given in (("--examples", options.examples is not None), ("--coverage", options.coverage)):
        if given:
            refuse(f"{option} is for a short run")
    folder = options.folder
    asked, targets = _asked(options, folder)
    regimes = _regimes(asked.only_regimes, targets)
    for reports in options.known_reports:
        if not any(isinstance(report, Report) for report in read_all(reports_in(reports))):
            refuse(f"--known-reports {reports}: no report is there")
    try:
        run = RunFolder(folder)
    except OSError as error:
        refuse(f"--run {folder}: {error.strerror}")
    workers = _workers(options, asked, run)
    command = shlex.join(["moefuzz", *sys.argv[1:]])
    try:
        with run.alone(socket.gethostname()):
            return long_run.watched(run, asked, command, workers, options, regimes, [*map(reports_in, options.known_reports)])
    except Taken as error:
        refuse(f"--run {folder}: {error}")
    except OSError as error:
        refuse(f"--run {folder}: {error.strerror}", INFRASTRUCTURE)


def _asked(options: FuzzOptions, folder: Path) -> tuple[Asked, list[Target]]:
    """What is asked of a long run: what is not given is as the folder's earlier run had it."""
    try:
        before = Asked.of(folder) if (folder / "run.json").exists() else Asked((), _DEFAULT_SECONDS)
    except BadRun as error:
        refuse(str(error))
    known = options.known or (Path(before.known_issues) if before.known_issues else None)
    named_issues(known)
    sanitize = options.sanitize or before.sanitize
    if sanitize:
        _want_interpreter(options)
    try:
        with isolated() as isolation:
            targets = [_loaded(spec, isolation) for spec in _specs(options.specs or before.targets)]
    except LostDevice as error:
        refuse(str(error), INFRASTRUCTURE)
    names = tuple(target.name for target in targets)
    if before.targets and set(before.targets) != set(names):
        refuse(f"--run {folder}: it is a run of {' and '.join(before.targets)}; another target wants another folder")
    resumed = bool(before.targets)
    return Asked(
        names, _seconds(options), before.isolate if options.isolate is None else options.isolate,
        options.case_seconds or before.case_seconds, sanitize, str(known.absolute()) if known else "", options.share or before.share,
        options.seed if options.seed is not None else before.seed if resumed else options.by_chance, options.regimes or before.only_regimes,
    ), targets  # fmt: skip


def _seconds(options: FuzzOptions) -> float:
    """How long to explore; with --examples alone, as long as those take."""
    return options.seconds or (float("inf") if options.examples is not None else _DEFAULT_SECONDS)


def _specs(specs: Sequence[str]) -> Sequence[str]:
    return specs or [own[0] for own in OWN_TARGETS.values()]


def _loaded(spec: str, isolation: Isolation | None) -> Target:
    """A target, which a worker has imported before, so that one whose import ends its process ends that one."""
    try:
        if isolation is not None:
            isolation.load(spec)
    except BadTarget as error:
        refuse(str(error))
    return named_target(spec)


def _regimes(wanted: Sequence[str], targets: Sequence[Target]) -> Regimes:
    try:
        return chosen_regimes(wanted, REGIMES, targets)
    except NoSuchRegime as error:
        refuse(f"--regime: {error}")


def _want_interpreter(options: FuzzOptions) -> None:
    for option, wanted in (("--sanitize", options.sanitize), ("--coverage", options.coverage)):
        if wanted and (why := why_not(option)):
            refuse(why)


def _workers(options: FuzzOptions, asked: Asked, run: RunFolder) -> Supervisor | Cluster:
    try:
        database_of(asked.share, now=True)
        if options.cluster:
            return Cluster(connect(), run, options.workers, asked.seconds, asked.targets)
        uuids = gpus.chosen(options.gpus or "all") if options.gpus is not None or device().type == "cuda" else []
        places = slots(options.workers or (1 if uuids else os.cpu_count() or 1), uuids)
        return Supervisor(run, places, asked.seconds, asked.targets)
    except gpus.NoSuchGpu as error:
        refuse(f"--gpus {options.gpus or 'all'}: {error}")
    except CannotShare as error:
        refuse(f"--share: {error}")
    except NoCluster as error:
        refuse(f"--cluster: {error}")
