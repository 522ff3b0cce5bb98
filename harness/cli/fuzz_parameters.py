"""The options of ``moefuzz fuzz``: their names and help texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moefuzz.harness.base.environment import KNOWN_ISSUES_VARIABLE
from moefuzz.harness.base.limits import CASE_SECONDS
from moefuzz.harness.report.formats import FORMATS

from .options import COVERAGE, ISOLATE, SANITIZE, TARGET, WHAT

_LONG, _OUTPUT = "Long runs", "Output"

Time = Annotated[
    str | None,
    typer.Option(
        "--time", metavar="DURATION", help="How long to explore, as 90s or 1h. Minimising failures takes extra time. (default: 2m)"
    ),
]
TargetNames = Annotated[list[str] | None, typer.Option("--target", "-t", help=f"{WHAT} Given several times, they take turns.", **TARGET)]
RegimeNames = Annotated[
    list[str] | None,
    typer.Option("--regime", metavar="NAME", help="Draw cases of this regime only, as far or tile-edge. (default: all in turn)"),
]
Examples = Annotated[
    int | None, typer.Option("--examples", min=1, help="End after this many examples in total; with --seed such a run can be repeated.")
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the drawn cases. (default: random, and printed)")]
MaxFailures = Annotated[int | None, typer.Option("--max-failures", min=1, help="End after this many distinct failures.")]
Known = Annotated[
    Path | None,
    typer.Option(
        "--known-issues",
        metavar="FILE",
        envvar=KNOWN_ISSUES_VARIABLE,
        help="TOML file of failures that are known already and not reported again.",
    ),
]
Isolate = Annotated[bool | None, ISOLATE]
CaseTime = Annotated[
    str | None,
    typer.Option(
        "--case-time", metavar="DURATION", help=f"Time limit of a case; beyond it the case counts as a hang. (default: {CASE_SECONDS:.0f}s)"
    ),
]
Sanitize = Annotated[bool, SANITIZE]
Coverage = Annotated[bool, COVERAGE]

ReportDir = Annotated[
    Path,
    typer.Option(
        "--report-dir", metavar="FOLDER", rich_help_panel=_OUTPUT,
        help="Where a short run writes its reports, a folder for each distinct failure.",
    ),
]  # fmt: skip
Format = Annotated[
    str,
    typer.Option(
        "--format", metavar="|".join(FORMATS), rich_help_panel=_OUTPUT,
        help="Format of standard output; with any other than text, the text is printed on standard error.",
    ),
]  # fmt: skip

Hours = Annotated[float | None, typer.Option("--hours", help="How many hours a long run takes.", rich_help_panel=_LONG)]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--run", metavar="FOLDER", rich_help_panel=_LONG,
        help="Folder of a long run; if it holds a run, that run is resumed. (default: a new folder in moefuzz-runs)",
    ),
]  # fmt: skip
Gpus = Annotated[
    str | None, typer.Option("--gpus", metavar="all|0,2|UUID", rich_help_panel=_LONG, help="The GPUs of a long run. (default: all)")
]
WorkerCount = Annotated[
    int | None,
    typer.Option(
        "--workers", rich_help_panel=_LONG,
        help="Worker processes for each GPU, or in total without one; 1 alone means a short run. (default: 1, on a CPU one a core)",
    ),
]  # fmt: skip
Share = Annotated[
    str,
    typer.Option(
        "--share", metavar="URL", rich_help_panel=_LONG, help="Share examples through this Redis server, as redis://host:6379/0."
    ),
]  # fmt: skip
OnRay = Annotated[
    bool, typer.Option("--cluster", rich_help_panel=_LONG, help="Run workers as Ray actors, on the cluster of RAY_ADDRESS or on this host.")
]
KnownReports = Annotated[
    list[Path] | None,
    typer.Option(
        "--known-reports", metavar="FOLDER", rich_help_panel=_LONG,
        help="Folder or run with earlier reports; failures that these explain are counted but not reported again.",
    ),
]  # fmt: skip
