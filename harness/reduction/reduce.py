"""Reducing: a failure that an explorer met becomes the smallest case that shows it, by Hypothesis' reuse and shrink phases and ours.

What the reports of its bucket explain already counts as right meanwhile, so that a bug behind another does not slip into it.
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
"""How long smaller cases of a failure are looked for: a third of it by Hypothesis, then by ``minimise``, whose steps are larger."""

AGAIN = 3
"""How often a case is run to see whether it fails each time, now and then, or never again."""


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
    """The failure on the simplest case that ``exclude`` does not explain, confirmed; None if nothing is left of it.

    ``choices`` are those of Hypothesis that led to it with ``strategy``. ``keep`` gets the failure on every smaller case, and its choices,
    so that a process that is ended meanwhile loses nothing. The search ends after ``seconds``, of which Hypothesis has a third at most. A
    failure that does not come back is Unreproducible, or NonDeterministic.
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
    """Runs cases in search of a smaller one that fails in the bucket of a failure, and keeps the smallest by now."""

    def __init__(self, failure: Failure, target: Target, exclude: Sequence[Region], keep: Callable[[Failure, bytes], None]) -> None:
        self.smallest, self._bucket, self._target, self._exclude, self._keep = failure, failure.bucket, target, exclude, keep

    def fails(self, case: Case) -> Failure | None:
        """Run a case that no region explains: its failure, if it is of the bucket."""
        if is_explained(case, self._target, self._exclude):
            return None
        found = failure_of(case, self._target)
        return found if found is not None and found.bucket == self._bucket else None

    def fails_sometimes(self, case: Case) -> Failure | None:
        """Run a case several times: the first failure of the bucket."""
        return next(filter(None, (self.fails(case) for _ in range(AGAIN))), None)

    def smaller(self, case: Case) -> Failure | None:
        """Run a case that is smaller than the smallest by now."""
        return self._kept(self.fails(case), b"")

    def shrunk(self, case: Case) -> Failure | None:
        """Run a case that Hypothesis shrank, whose choices are kept too."""
        found = self.fails(case)
        return self._kept(found, b"" if found is None else choices_of_example())

    def _kept(self, found: Failure | None, choices: bytes) -> Failure | None:
        if found is not None:
            self.smallest = found
            self._keep(found, choices)
        return found


@contextmanager
def hurrying(failure: Failure, target: Target) -> Iterator[None]:
    """While it lasts, a case that hangs is given up soon."""
    isolation = isolation_for(target)
    with isolation.hurrying() if isolation and isinstance(failure, Hang) else nullcontext():
        yield


class _Given(ExampleDatabase):
    """Holds one example, of whatever test; in the secondary corpus, since what comes from the primary one is not shrunk again."""

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
    """The smallest failure to which Hypothesis shrinks the choices, as a test does that finds them in its database."""
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
    except FlakyFailure:  # what failed once on the way need not be the smallest
        pass
    return smallest


def _classify_vanished(failure: Failure, target: Target) -> Failure | None:
    """What a failure is that did not come back: of a kernel with a memory, or a race."""
    if isolation_for(target):
        return confirmed(failure, functools.partial(failure_of, target=target), target)
    return _classify_flaky(failure, "when the case was run again")


def _classify_flaky(failure: Failure, when: str = "each time that the case was run") -> Failure | None:
    kind = NON_DETERMINISTIC[failure.tensor] if failure.tensor in NON_DETERMINISTIC else type(failure)
    said = failure.turned(kind, f"{failure.finding}, but not {when}")
    return None if known_issues.match_known_issue(failure.case, failure.target, said) else said
