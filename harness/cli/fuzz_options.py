"""The options of a run of ``moefuzz fuzz``, and those checks of them that need no large import."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from moefuzz.harness.base.environment import why_not_writable
from moefuzz.harness.report.formats import FORMATS

from .options import refuse, seconds_of, seconds_of_hours


@dataclass(frozen=True)
class FuzzOptions:
    """The options as given; None for an option that was not given."""

    specs: tuple[str, ...] = ()
    time: str | None = None
    regimes: tuple[str, ...] = ()
    examples: int | None = None
    seed: int | None = None
    max_failures: int | None = None
    known: Path | None = None
    isolate: bool | None = None
    case_time: str | None = None
    sanitize: bool = False
    coverage: bool = False
    report_dir: Path = Path()
    format: str = FORMATS[0]
    hours: float | None = None
    run: Path | None = None
    gpus: str | None = None
    workers: int | None = None
    share: str = ""
    cluster: bool = False
    known_reports: tuple[Path, ...] = ()
    document: TextIO = sys.stdout
    by_chance: int = field(default_factory=lambda: random.SystemRandom().getrandbits(32))
    """The random seed of a run for which none is given."""
    seconds: float | None = None
    case_seconds: float | None = None
    folder: Path = Path()
    """The folder of a long run; like the seconds, it is set by ``checked``."""

    @property
    def is_long(self) -> bool:
        """Whether the options ask for a long run, with several processes."""
        given = any(option is not None for option in (self.hours, self.run, self.gpus))
        return given or self.workers not in (None, 1) or bool(self.known_reports or self.share or self.cluster)

    def checked(self) -> FuzzOptions:
        """Return the options with durations and folder filled in, or end the command with one line if they contradict each other."""
        if self.hours is not None and self.time is not None:
            refuse("--hours and --time both say how long: give one of them")
        if self.workers is not None and self.workers < 1:
            refuse(f"--workers must be at least 1, got {self.workers}")
        if self.format not in FORMATS:
            refuse(f"--format must be one of {', '.join(FORMATS)}, got {self.format!r}")
        known = replace(
            self,
            seconds=self._seconds(),
            case_seconds=seconds_of(self.case_time, "--case-time") if self.case_time else None,
            folder=self.run or Path("moefuzz-runs") / datetime.now(tz=UTC).strftime("%Y-%m-%d-%H%M%S"),
        )
        option, into = ("--run", known.folder) if known.is_long else ("--report-dir", known.report_dir)
        if why := why_not_writable(into):
            refuse(f"{option} {into}: {why}")
        return known

    def _seconds(self) -> float | None:
        if self.hours is not None:
            return seconds_of_hours(self.hours)
        return seconds_of(self.time) if self.time else None
