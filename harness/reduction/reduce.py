"""Reduction of a failure to the smallest case that shows it, by Hypothesis' reuse and shrink phases and then by ``minimise``.

Cases that the reports of its bucket explain count as right meanwhile, so that a second bug is not reduced to the first one.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st
from hypothesis.database import ExampleDatabase
from hypothesis.errors import FlakyFailure

from moefuzz.harness.base.case import Case
from moefuzz.harness.base.hypothesis_internals import choices_of_example, is_secondary
from moefuzz.harness.failures import NON_DETERMINISTIC, Failure, Hang
from moefuzz.harness.reduction.explain import Region, is_explained
from moefuzz.harness.reduction.minimise import minimise
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict import known_issues
from moefuzz.harness.verdict.check import failure_of
from moefuzz.harness.verdict.isolation import confirmed, isolation_for

SECONDS = 90.0
"""The time limit of the search for smaller cases: a third for Hypothesis, the rest for ``minimise``, whose steps are larger."""

AGAIN = 3
"""The number of runs of a case that tell whether it fails always, sometimes, or never again."""


def reduced(
    failure: Failure,
    target: Target,
    *,
    strategy: st.SearchStrategy[Any] | None = None,
    choices: bytes = b"",
    exclude: Sequence[Region] = (),
    seconds: float = SECONDS,
    keep: Callable[[Failure, bytes], None] = lambda *_: None,
) -> Failure | None:
    """Return the failure on the simplest case that ``exclude`` does not explain, confirmed; None if no failure is left.

    ``choices`` are those of Hypothesis that led to it with ``strategy``. ``keep`` is called with the failure on every smaller case, and its
    choices, so that a process that is ended meanwhile loses nothing. The search ends after ``seconds``, of which Hypothesis has a third at
    most. A failure that does not recur is Unreproducible, or NonDeterministic.
    """
    search = _Search(failure, target, exclude, keep)
    if is_explained(failure.case, target, exclude):
        return None
    began = time.monotonic()
    with hurrying(failure, target):
        again = [search.fails(failure.case) for _ in range(1 if isinstance(failure, Hang) else AGAIN)]
    if not any(again):
        return _classify_vanished(failure, target)
    if not all(again):
        return _classify_flaky(minimise(failure, search.fails_sometimes, seconds=seconds))
    with hurrying(failure, target):
        if strategy is not None and choices:
            search.smallest = _shrunk(failure, search.shrunk, strategy, choices, seconds / 3)
        smallest = minimise(search.smallest, search.smaller, seconds=began + seconds - time.monotonic())
    return confirmed(smallest, functools.partial(failure_of, target=target), target)


class _Search:
    """A search for smaller cases that fail in the bucket of a failure; it keeps the smallest so far."""

    def __init__(self, failure: Failure, target: Target, exclude: Sequence[Region], keep: Callable[[Failure, bytes], None]) -> None:
        self.smallest, self._bucket, self._target, self._exclude, self._keep = failure, failure.bucket, target, exclude, keep

    def fails(self, case: Case) -> Failure | None:
        """Run a case unless a region explains it; return its failure, if it is of the bucket."""
        if is_explained(case, self._target, self._exclude):
            return None
        found = failure_of(case, self._target)
        return found if found is not None and found.bucket == self._bucket else None

    def fails_sometimes(self, case: Case) -> Failure | None:
        """Run a case several times; return the first failure of the bucket."""
        return next(filter(None, (self.fails(case) for _ in range(AGAIN))), None)

    def smaller(self, case: Case) -> Failure | None:
        """Run a case that is smaller than the smallest so far; return its failure, if it is of the bucket."""
        return self._kept(self.fails(case), b"")

    def shrunk(self, case: Case) -> Failure | None:
        """Run a case that Hypothesis shrank, and keep its choices too; return its failure, if it is of the bucket."""
        found = self.fails(case)
        return self._kept(found, b"" if found is None else choices_of_example())

    def _kept(self, found: Failure | None, choices: bytes) -> Failure | None:
        if found is not None:
            self.smallest = found
            self._keep(found, choices)
        return found


@contextmanager
def hurrying(failure: Failure, target: Target) -> Iterator[None]:
    """Shorten the time limit of cases within the block, if the failure is a hang."""
    isolation = isolation_for(target)
    with isolation.hurrying() if isolation and isinstance(failure, Hang) else nullcontext():
        yield


class _Given(ExampleDatabase):
    """A database of one example, for any test; in the secondary corpus, since examples of the primary one are not shrunk again."""

    def __init__(self, choices: bytes) -> None:
        self.choices = choices

    def fetch(self, key: bytes) -> Iterable[bytes]:
        return (self.choices,) if is_secondary(key) else ()

    def save(self, key: bytes, value: bytes) -> None:
        pass

    def delete(self, key: bytes, value: bytes) -> None:
        pass


def _shrunk(
    failure: Failure, fails: Callable[[Case], Failure | None], strategy: st.SearchStrategy[Any], choices: bytes, seconds: float
) -> Failure:
    """Return the smallest failure to which Hypothesis shrinks the choices, as in a test that finds them in its database."""
    smallest, stop = failure, time.monotonic() + seconds
    failed: set[Case] = set()

    @settings(
        max_examples=1,
        deadline=None,
        database=_Given(choices),
        derandomize=False,
        verbosity=Verbosity.quiet,
        phases=(Phase.reuse, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @seed(int.from_bytes(choices[:8]))  # the same failure is reduced in the same way
    @given(strategy)
    def attempt(case: Case) -> None:
        nonlocal smallest
        if case not in failed and time.monotonic() > stop:
            return
        if (found := fails(case)) is not None:
            smallest = found
            failed.add(case)
            raise found

    try:
        attempt()
    except Failure as found:
        return found
    except FlakyFailure:  # a case that failed only once need not be the smallest
        pass
    return smallest


def _classify_vanished(failure: Failure, target: Target) -> Failure | None:
    """Classify a failure that did not recur, as of a race or a kernel with state; return it, or None for a known issue."""
    if isolation_for(target):
        return confirmed(failure, functools.partial(failure_of, target=target), target)
    return _classify_flaky(failure, "when the case was run again")


def _classify_flaky(failure: Failure, when: str = "each time that the case was run") -> Failure | None:
    kind = NON_DETERMINISTIC[failure.tensor] if failure.tensor in NON_DETERMINISTIC else type(failure)
    said = failure.turned(kind, f"{failure.finding}, but not {when}")
    return None if known_issues.match_known_issue(failure.case, failure.target, said) else said
