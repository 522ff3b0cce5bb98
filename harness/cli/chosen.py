"""What the options of ``moefuzz fuzz`` choose: targets, regimes, a time, the interpreter; what there is not ends with one line."""

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
    """Return how long to explore; with --examples alone, as long as those take."""
    return options.seconds or (float("inf") if options.examples is not None else DEFAULT_SECONDS)


def targets(specs: Sequence[str], isolation: Isolation | None) -> list[Target]:
    """Return the targets of these names, by default our own of each level."""
    return [_loaded(spec, isolation) for spec in specs or [own[0] for own in OWN_TARGETS.values()]]


def regimes(wanted: Sequence[str], of: Sequence[Target]) -> Regimes:
    """Return the regimes of these names for targets, by default all."""
    try:
        return chosen_regimes(wanted, REGIMES, of)
    except NoSuchRegime as error:
        refuse(f"--regime: {error}")


def want_interpreter(options: FuzzOptions) -> None:
    """Refuse options that need Triton's interpreter where kernels would not run under it."""
    for option, wanted in (("--sanitize", options.sanitize), ("--coverage", options.coverage)):
        if wanted and (why := why_not(option)):
            refuse(why)


def _loaded(spec: str, isolation: Isolation | None) -> Target:
    """Return a target, whose module the worker alone imports: an import that ends its process ends that one.

    This process imports it too where it brings a level of its own, whose cases are drawn here.
    """
    try:
        target = None if isolation is None else isolation.load(spec)
    except BadTarget as error:
        refuse(str(error))
    return named_target(spec) if target is None or target.level not in level_names() else target
