"""The options of ``moefuzz fuzz``: how each is spelled, and what its help says."""

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
    str | None, typer.Option("--time", metavar="DURATION", help="How long to explore, as 90s or 1h; reducing adds to it. (default: 2m)")
]
TargetNames = Annotated[list[str] | None, typer.Option("--target", "-t", help=f"{WHAT} Given several times, they take turns.", **TARGET)]
RegimeNames = Annotated[
    list[str] | None,
    typer.Option("--regime", metavar="NAME", help="Draw from this regime alone, as far or tile-edge. (default: all in turn)"),
]
Examples = Annotated[
    int | None, typer.Option("--examples", min=1, help="End after so many examples, in all; the same seed repeats the run.")
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Draw what a run with this seed drew. (default: by chance, printed)")]
MaxFailures = Annotated[int | None, typer.Option("--max-failures", min=1, help="End after so many distinct failures.")]
Known = Annotated[
    Path | None,
    typer.Option("--known-issues", metavar="FILE", envvar=KNOWN_ISSUES_VARIABLE, help="What is reported already, and is fuzzed around."),
]
Isolate = Annotated[bool | None, ISOLATE]
CaseTime = Annotated[
    str | None,
    typer.Option("--case-time", metavar="DURATION", help=f"How long a case may take in its process. (default: {CASE_SECONDS:.0f}s)"),
]
Sanitize = Annotated[bool, SANITIZE]
Coverage = Annotated[bool, COVERAGE]

ReportDir = Annotated[
    Path,
    typer.Option(
        "--report-dir", metavar="FOLDER", rich_help_panel=_OUTPUT,
        help="Each distinct failure of a short run gets a folder of its own in it.",
    ),
]  # fmt: skip
Format = Annotated[
    str,
    typer.Option(
        "--format", metavar="|".join(FORMATS), rich_help_panel=_OUTPUT,
        help="What is printed on standard output; with any but text, the text goes to standard error.",
    ),
]  # fmt: skip

Hours = Annotated[float | None, typer.Option("--hours", help="How long a long run takes.", rich_help_panel=_LONG)]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--run", metavar="FOLDER", rich_help_panel=_LONG,
        help="Everything of a long run goes there; an earlier run of this folder goes on. (default: a new one in moefuzz-runs)",
    ),
]  # fmt: skip
Gpus = Annotated[
    str | None, typer.Option("--gpus", metavar="all|0,2|UUID", rich_help_panel=_LONG, help="The GPUs of a long run. (default: all)")
]
WorkerCount = Annotated[
    int | None,
    typer.Option(
        "--workers", rich_help_panel=_LONG,
        help="Processes, for each GPU or in all; 1 alone is a short run. (default: 1, on a CPU one a core)",
    ),
]  # fmt: skip
Share = Annotated[
    str,
    typer.Option(
        "--share", metavar="URL", rich_help_panel=_LONG, help="A Redis server, as redis://host:6379/0: examples are shared there."
    ),
]  # fmt: skip
OnRay = Annotated[
    bool, typer.Option("--cluster", rich_help_panel=_LONG, help="Run workers as actors of Ray: on RAY_ADDRESS, or on this host.")
]
KnownReports = Annotated[
    list[Path] | None,
    typer.Option(
        "--known-reports", metavar="FOLDER", rich_help_panel=_LONG,
        help="Reports of earlier runs: what they explain is counted and passed by.",
    ),
]  # fmt: skip
