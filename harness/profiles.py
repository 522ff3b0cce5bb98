"""Hypothesis profiles: dev (default), ci, gpu, soak.

All start from Hypothesis' own default rather than from what is active: under CI=1 that would hand on ``derandomize=True`` and no database.
"""

from __future__ import annotations

import sys

from hypothesis import HealthCheck, Phase, settings
from hypothesis.internal.conjecture import engine

from .resources import KeepsWhatHadNoRoom

NAMES = ("dev", "ci", "gpu", "soak")
NEED_A_GPU = ("gpu", "soak")

_SOAK_EXAMPLES = 1_000_000
_SHRINKING_SECONDS = 24 * 3600


def let_shrinking_end() -> None:
    """Let Hypothesis shrink a failure to the end, where it would stop after five minutes: a case that crashes or hangs takes its time."""
    engine.MAX_SHRINKING_SECONDS = _SHRINKING_SECONDS


def register() -> None:
    """Register the profiles; all but ``ci`` keep the examples database of Hypothesis' home."""
    let_shrinking_end()
    # Tracing lines for the explain phase costs little from Python 3.12 on; before, it slows the interpreter several times.
    phases = tuple(phase for phase in Phase if phase != Phase.explain or sys.version_info >= (3, 12))
    base = settings(
        settings.get_profile("default"),
        database=KeepsWhatHadNoRoom() if settings.get_profile("default").database is not None else None,
        deadline=None,  # the first call compiles
        derandomize=False,
        print_blob=True,
        phases=phases,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.register_profile("dev", base, max_examples=100)
    settings.register_profile("gpu", base, max_examples=1_000)
    settings.register_profile("soak", base, max_examples=_SOAK_EXAMPLES)
    settings.register_profile("ci", base, max_examples=20, database=None, derandomize=True)


def drawn(examples: int) -> settings:
    """So many examples, which are drawn and not minimised, whatever the profile: for measurements."""
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
