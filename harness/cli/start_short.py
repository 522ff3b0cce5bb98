"""Start a short run of ``moefuzz fuzz``; options that cannot run end the command with one line."""

from __future__ import annotations

from contextlib import nullcontext

from moefuzz.harness.base.device import one_thread
from moefuzz.harness.base.exit_codes import INFRASTRUCTURE
from moefuzz.harness.base.limits import CASE_SECONDS
from moefuzz.harness.base.resources import LostDevice
from moefuzz.harness.campaign.settings import RunSettings
from moefuzz.harness.verdict.isolation import isolated
from moefuzz.harness.verdict.kernel_coverage import printed

from . import chosen
from .fuzz_options import FuzzOptions
from .options import named_issues, refuse
from .short_run import ShortRun


def short(options: FuzzOptions) -> int:
    """Run a short run: explore in this process, run cases in a worker process; return the exit code."""
    one_thread()
    issues = named_issues(options.known)
    chosen.want_interpreter(options)
    isolate = options.isolate is not False
    case_seconds = options.case_seconds or CASE_SECONDS
    try:
        with isolated(case_seconds) if isolate else nullcontext() as isolation, printed(wanted=options.coverage):
            targets = chosen.targets(options.specs, isolation)
            asked = RunSettings(
                tuple(target.name for target in targets), chosen.seconds(options), isolate, case_seconds, options.sanitize,
                seed=options.by_chance if options.seed is None else options.seed, only_regimes=options.regimes,
            )  # fmt: skip
            return ShortRun(asked, targets, chosen.regimes(options.regimes, targets), issues, options).run()
    except LostDevice as error:
        refuse(str(error), INFRASTRUCTURE)
