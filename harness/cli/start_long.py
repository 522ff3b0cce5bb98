"""Start a long run of ``moefuzz fuzz``: combine the options with the settings in its folder, and make its workers."""

from __future__ import annotations

import os
import shlex
import socket
import sys
from dataclasses import replace
from pathlib import Path

from moefuzz.harness.base.device import device
from moefuzz.harness.base.exit_codes import INFRASTRUCTURE
from moefuzz.harness.base.resources import LostDevice
from moefuzz.harness.campaign import gpus
from moefuzz.harness.campaign.example_database import CannotShare, database_of
from moefuzz.harness.campaign.ray_cluster import Cluster, NoCluster, connect
from moefuzz.harness.campaign.run_folder import RunFolder, Taken
from moefuzz.harness.campaign.settings import RunSettings
from moefuzz.harness.campaign.supervisor import Supervisor, slots
from moefuzz.harness.report.folder import Report, read_all, reports_in
from moefuzz.harness.run_log.events import BadRun
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.isolation import isolated

from . import chosen, long_run
from .fuzz_options import FuzzOptions
from .options import named_issues, refuse


def long(options: FuzzOptions) -> int:
    """Run a long run in its folder; return the exit code."""
    for option, given in (("--examples", options.examples is not None), ("--coverage", options.coverage)):
        if given:
            refuse(f"{option} is for a short run")
    folder = options.folder
    asked, targets = _asked(options, folder)
    regimes = chosen.regimes(asked.only_regimes, targets)
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


def _asked(options: FuzzOptions, folder: Path) -> tuple[RunSettings, list[Target]]:
    """Return the settings of a long run, and its targets."""
    before = _before(folder)
    asked = merged(options, before)
    named_issues(options.known or (Path(asked.known_issues) if asked.known_issues else None))
    if asked.sanitize:
        chosen.want_interpreter(options)
    try:
        with isolated() as isolation:
            targets = chosen.targets(asked.targets, isolation)
    except LostDevice as error:
        refuse(str(error), INFRASTRUCTURE)
    names = tuple(target.name for target in targets)
    if before is not None and before.targets and set(before.targets) != set(names):
        refuse(f"--run {folder}: it is a run of {' and '.join(before.targets)}; use another folder for another target")
    return replace(asked, targets=names), targets


def _before(folder: Path) -> RunSettings | None:
    """Return the settings of an earlier run in the folder, or None."""
    try:
        return RunSettings.of(folder) if (folder / "run.json").exists() else None
    except BadRun as error:
        refuse(str(error))


def merged(options: FuzzOptions, before: RunSettings | None) -> RunSettings:
    """Return the settings: from the options, else from the earlier run, else the defaults."""
    was = before or RunSettings((), chosen.DEFAULT_SECONDS, seed=options.by_chance)
    known = options.known or (Path(was.known_issues) if was.known_issues else None)
    return RunSettings(
        options.specs or was.targets, chosen.seconds(options), was.isolate if options.isolate is None else options.isolate,
        options.case_seconds or was.case_seconds, options.sanitize or was.sanitize,
        str(known.absolute()) if known else "", options.share or was.share,
        was.seed if options.seed is None else options.seed, options.regimes or was.only_regimes,
    )  # fmt: skip


def _workers(options: FuzzOptions, asked: RunSettings, run: RunFolder) -> Supervisor | Cluster:
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
