"""Hypothesis profiles: dev (default), ci, gpu, soak.

All start from Hypothesis' own default, not from the active profile, which under CI=1 has ``derandomize=True`` and no database.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings

from .hypothesis_internals import limit_shrinking
from .resources import KeepsWhatHadNoRoom

_SOAK_EXAMPLES = 1_000_000
_SHRINKING_SECONDS = 24 * 3600


def let_shrinking_end() -> Callable[[], None]:
    """Let Hypothesis shrink a failure to the end, instead of for five minutes, since a case that crashes or hangs takes long.

    Return a function that undoes it.
    """
    return limit_shrinking(_SHRINKING_SECONDS)


def register(*names: str) -> None:
    """Register the profiles of these names, or all; all but ``ci`` keep the examples database of Hypothesis' home."""
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
    own: dict[str, dict[str, Any]] = {
        "dev": {"max_examples": 100},
        "gpu": {"max_examples": 1_000},
        "soak": {"max_examples": _SOAK_EXAMPLES},
        "ci": {"max_examples": 20, "database": None, "derandomize": True},
    }
    for name in names or own:
        settings.register_profile(name, base, **own[name])


def drawn(examples: int) -> settings:
    """Return settings for measurements: a number of examples that are drawn and not minimised, whatever the profile."""
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
