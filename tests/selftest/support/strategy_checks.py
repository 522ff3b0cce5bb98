"""Four verbs for claims about strategies: ``minimal``, ``find_any``, ``assert_all_examples``, and the minimum of a failing target."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, Phase, Verbosity, find, given, settings
from hypothesis import strategies as st

from moefuzz.harness.campaign.campaign import fuzz
from moefuzz.harness.campaign.reducing import Reduced
from moefuzz.harness.failures import Failure
from moefuzz.harness.levels.cases import Case
from moefuzz.harness.reduction.minimise import minimise
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.check import check, failure_of

T = TypeVar("T")


def found_by_fuzzing(target: Target, seconds: float, regime: Callable[[Target], st.SearchStrategy[Case] | None]) -> Iterator[Failure]:
    """What a fuzz run of one regime reports, as it does."""
    with tempfile.TemporaryDirectory() as reports:
        for step in fuzz([target], seconds, {target.level: {"one": regime}}, reports=Path(reports)):
            if isinstance(step, Reduced) and step.failure is not None and step.found.outcome != "same":
                yield step.failure


_QUIET = settings(
    max_examples=2_000,
    derandomize=True,
    database=None,
    deadline=None,
    verbosity=Verbosity.quiet,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
)


def find_any(strategy: st.SearchStrategy[T], condition: Callable[[T], bool] = lambda _: True) -> T:
    """An example that meets the condition; fails if 2,000 do not."""
    return find(strategy, condition, settings=settings(_QUIET, phases=(Phase.generate,)))


def minimal(strategy: st.SearchStrategy[T], condition: Callable[[T], bool] = lambda _: True) -> T:
    """The simplest example that meets the condition."""
    return find(strategy, condition, settings=_QUIET)


def assert_all_examples(strategy: st.SearchStrategy[T], condition: Callable[[T], bool]) -> None:
    """Every drawn example meets the condition."""

    @settings(_QUIET, max_examples=200)
    @given(strategy)
    def assert_one(value: T) -> None:
        assert condition(value), value

    assert_one()


def minimal_failure(strategy: st.SearchStrategy[Case], target: Target, max_examples: int = 500) -> Failure:
    """The minimised failure of a target; fails if no example fails."""

    @settings(_QUIET, max_examples=max_examples, report_multiple_bugs=False)
    @given(strategy)
    def attempt(case: Case) -> None:
        check(case, target)

    try:
        attempt()
    except Failure as failure:
        return minimise(failure, lambda case: failure_of(case, target))
    raise AssertionError(f"{target.name} was right on {max_examples} examples")
