"""``moefuzz fuzz``: its options are checked before anything large is imported."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import typer

from moefuzz.harness.report.folder import DEFAULT
from moefuzz.harness.report.formats import FORMATS
from moefuzz.harness.verdict import forkserver

from . import fuzz_parameters as parameters
from .fuzz_options import FuzzOptions


def fuzz_command(
    time: parameters.Time = None,
    target: parameters.TargetNames = None,
    regime: parameters.RegimeNames = None,
    examples: parameters.Examples = None,
    seed: parameters.Seed = None,
    max_failures: parameters.MaxFailures = None,
    known: parameters.Known = None,
    isolate: parameters.Isolate = None,
    case_time: parameters.CaseTime = None,
    sanitize: parameters.Sanitize = False,
    coverage: parameters.Coverage = False,
    report_dir: parameters.ReportDir = Path(DEFAULT),
    form: parameters.Format = FORMATS[0],
    hours: parameters.Hours = None,
    run: parameters.Folder = None,
    gpus: parameters.Gpus = None,
    workers: parameters.WorkerCount = None,
    share: parameters.Share = "",
    cluster: parameters.OnRay = False,
    known_reports: parameters.KnownReports = None,
) -> None:
    """Fuzz targets: draw cases, and compare results and gradients with a float64 reference.

    The default targets are moefuzz's own Triton grouped GEMM, and the experts and the Qwen3 MoE block that use it.

    Every case runs in a worker process. A failure is minimised and printed as a report. With --hours, --run, --gpus or several --workers
    the run is a long one: several processes explore, each failure becomes a report in the run's folder, and its page summary.html shows
    findings and coverage. A long run that was interrupted is resumed with --run.

    Exit code 0: nothing (new) found, 1: failures, 2: wrong usage, 3: no more cases can run (device, memory or disk), 4: an error of
    moefuzz itself, 5: no example ran, 130: interrupted.
    """
    asked = FuzzOptions(
        specs=tuple(dict.fromkeys(target or ())), time=time, regimes=tuple(regime or ()), examples=examples, seed=seed,
        max_failures=max_failures, known=known, isolate=isolate, case_time=case_time, sanitize=sanitize, coverage=coverage,
        report_dir=report_dir, format=form, hours=hours, run=run, gpus=gpus, workers=workers, share=share, cluster=cluster,
        known_reports=tuple(known_reports or ()),
    ).checked()  # fmt: skip
    asked = replace(asked, document=_document(form))
    forkserver.start()  # it loads torch while this process does

    if asked.is_long:
        from .start_long import long

        raise typer.Exit(long(asked))
    from .start_short import short

    raise typer.Exit(short(asked))


def _document(form: str) -> TextIO:
    """Return the stream for a document of this format: standard output, to which this process and its workers then print nothing else."""
    try:
        if form == FORMATS[0] or sys.stdout.fileno() != 1:
            return sys.stdout
    except (OSError, ValueError):  # standard output is no file, as in a test
        return sys.stdout
    sys.stdout.flush()
    document = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return document
