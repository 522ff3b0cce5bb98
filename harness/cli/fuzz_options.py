"""What the command line asks of a run of ``moefuzz fuzz``."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO


@dataclass(frozen=True)
class FuzzOptions:
    """As they were given; None where an option was not."""

    specs: tuple[str, ...] = ()
    seconds: float | None = None
    regimes: tuple[str, ...] = ()
    examples: int | None = None
    seed: int | None = None
    max_failures: int | None = None
    known: Path | None = None
    isolate: bool | None = None
    case_seconds: float | None = None
    sanitize: bool = False
    coverage: bool = False
    report_dir: Path = Path()
    format: str = "text"
    folder: Path = Path()  # of a long run
    gpus: str | None = None
    workers: int | None = None
    share: str = ""
    cluster: bool = False
    known_reports: tuple[Path, ...] = ()
    document: TextIO = sys.stdout
    by_chance: int = field(default_factory=lambda: random.SystemRandom().getrandbits(32))
    """The seed of a run for which none is given."""
