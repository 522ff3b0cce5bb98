"""Resolve the options of ``moefuzz fuzz``: targets, regimes, time, interpreter. An unknown name ends the command with one line."""

from __future__ import annotations

from collections.abc import Sequence

from moefuzz.harness.base.contract import level_names
from moefuzz.harness.campaign.chosen_regimes import NoSuchRegime, chosen_regimes
from moefuzz.harness.campaign.explore import Regimes
from moefuzz.harness.targets import BadTarget, Target
from moefuzz.harness.targets.registry import OWN_TARGETS
from moefuzz.harness.verdict.isolation import Isolation
from moefuzz.harness.verdict.sanitizing import why_not
from moefuzz.strategies.regimes import REGIMES

from .fuzz_options import FuzzOptions
from .options import named_target, refuse

DEFAULT_SECONDS = 120.0


def seconds(options: FuzzOptions) -> float:
    """Return how many seconds to explore; with --examples alone, infinity."""
    return options.seconds or (float("inf") if options.examples is not None else DEFAULT_SECONDS)


def targets(specs: Sequence[str], isolation: Isolation | None) -> list[Target]:
    """Return the targets of these names, by default moefuzz's own target of each level."""
    return [_loaded(spec, isolation) for spec in specs or [own[0] for own in OWN_TARGETS.values()]]


def regimes(wanted: Sequence[str], of: Sequence[Target]) -> Regimes:
    """Return the regimes of these names for the targets, by default all."""
    try:
        return chosen_regimes(wanted, REGIMES, of)
    except NoSuchRegime as error:
        refuse(f"--regime: {error}")


def want_interpreter(options: FuzzOptions) -> None:
    """End the command if an option needs Triton's interpreter and kernels would not run under it."""
    for option, wanted in (("--sanitize", options.sanitize), ("--coverage", options.coverage)):
        if wanted and (why := why_not(option)):
            refuse(why)


def _loaded(spec: str, isolation: Isolation | None) -> Target:
    """Return a target. With isolation only the worker imports its module, so that an import that crashes ends the worker alone.

    This process imports the module too if it registers a level of its own, since cases are drawn here.
    """
    try:
        target = None if isolation is None else isolation.load(spec)
    except BadTarget as error:
        refuse(str(error))
    return named_target(spec) if target is None or target.level not in level_names() else target
