"""A bounded fuzz run: the regimes of a target in turn until the time is up, each failure minimised, and a summary."""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure

from . import known_issues
from .cases import Case
from .failures import NON_DETERMINISTIC, Failure
from .isolation import confirmed, isolation_for
from .minimise import minimise
from .profiles import let_shrinking_end
from .resources import LostDevice, NoRoom
from .running import LeftOver
from .targets import Target
from .verdict import check, failure_of

Regimes = Mapping[str, Mapping[str, Callable[[Target], st.SearchStrategy[Any] | None]]]

BATCH = 25
"""Examples of one regime before the next has its turn."""

SHRINKING_SECONDS = 100.0
"""How long Hypothesis may look for smaller examples of a failure, before ``minimise`` has its turn: each hang takes seconds."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while a failure was being minimised: it carries the smallest one so far."""

    def __init__(self, found: Failure) -> None:
        super().__init__()
        self.found = found


class TurnIsOver(KeyboardInterrupt):
    """Ends a batch without shrinking, as its time is up or there is no room: Hypothesis passes a KeyboardInterrupt on."""


@dataclass
class Tally:
    """What one regime of one target yielded."""

    target: Target
    regime: str
    examples: int = 0
    seconds: float = 0.0
    no_room: int = 0  # examples passed by, whose inputs the device could not hold
    refused: int = 0  # examples outside the declaration, to which the target said no
    known: int = 0  # examples on which it failed as a known issue says
    failing: int = 0  # examples on which the target failed, those of minimising left out
    shares: dict[str, float] = field(default_factory=dict)  # by tensor, the largest share of a bound


@dataclass(frozen=True)
class Turn:
    """One finished batch of a regime, and the failure of a new bucket that it met, minimised."""

    tally: Tally
    found: Failure | None


def fuzz(targets: Sequence[Target], seconds: float, regimes: Regimes, left: Sequence[LeftOver] = ()) -> Iterator[Turn]:
    """Run what was ``left`` over by an earlier run, then give each regime of each target in turn a batch of examples until the time is up.

    The first failure of each bucket is minimised at once, beyond the time if need be; later ones are counted and passed by. Raises
    LostDevice where nothing can run any more.
    """
    let_shrinking_end()
    stop = time.monotonic() + seconds
    drawn = [(Tally(target, name), regime(target)) for target in targets for name, regime in regimes[target.level].items()]
    lines = [line for line in drawn if line[1] is not None]
    known: set[object] = set()
    for one in left:
        target = next(target for target in targets if target.name == one.target)
        if target.level == one.case.level and target.takes(one.case):  # which it may have done no more since
            tally = Tally(target, "left over")
            found = _turn(tally, st.just(one.case), math.inf, known)
            known |= {found.bucket} if found is not None else set()
            yield Turn(tally, found)
        one.done()
    barren = 0  # turns since the last example
    for tally, strategy in itertools.cycle(lines):
        if time.monotonic() >= stop:
            return
        before = tally.examples
        found = _turn(tally, strategy, stop, known)
        barren = 0 if tally.examples > before else barren + 1
        if barren == len(lines) and tally.no_room:
            raise LostDevice("no case had room for a whole round of the regimes")
        if found is not None:
            known.add(found.bucket)
        yield Turn(tally, found)


def _turn(tally: Tally, strategy: Any, stop: float, known: set[object]) -> Failure | None:
    target = tally.target
    began = time.monotonic()
    failed_at, smallest = math.inf, None
    failed: set[Case] = set()

    @settings(
        max_examples=BATCH,
        deadline=None,
        database=None,
        derandomize=False,
        verbosity=Verbosity.quiet,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(strategy)
    def attempt(case: Case) -> None:
        nonlocal failed_at, smallest
        minimising = smallest is not None
        if not minimising and time.monotonic() > stop:
            raise TurnIsOver
        if minimising and case not in failed and time.monotonic() > failed_at + SHRINKING_SECONDS:
            return
        tally.examples += not minimising
        try:
            agreement = check(case, target)
        except NoRoom:
            tally.examples -= not minimising
            tally.no_room += not minimising
            if tally.no_room % BATCH == 0 and not minimising:
                raise TurnIsOver from None
            raise
        except Failure as failure:
            tally.failing += not minimising
            if failure.bucket in known:
                return
            failed_at, smallest = min(failed_at, time.monotonic()), failure
            failed.add(case)
            raise
        tally.refused += bool(agreement.refused) and not minimising
        tally.known += bool(agreement.known) and not minimising
        for tensor, share in agreement.shares.items():
            tally.shares[tensor] = max(share, tally.shares.get(tensor, 0.0))

    found = None
    try:
        found = _minimised(attempt, target)
    except FlakyFailure as flaky:
        found = _not_again(flaky, target)
    except TurnIsOver:
        pass
    except KeyboardInterrupt:
        if smallest is not None:
            raise Interrupted(smallest) from None
        raise
    if found is not None and found.bucket in known:
        found = None
    tally.seconds += time.monotonic() - began
    return found


def _minimised(attempt: Callable[[], None], target: Target) -> Failure | None:
    try:
        attempt()
    except Failure as failure:
        fails = functools.partial(failure_of, target=target)
        return confirmed(minimise(failure, fails), fails, target)
    return None


def _not_again(flaky: FlakyFailure, target: Target) -> Failure | None:
    """The failure of a case that failed at first and not when it was run again: a kernel with a memory, or a race."""
    failure = next((inner for inner in flaky.exceptions if isinstance(inner, Failure)), None)
    if failure is None:
        return None
    if isolation_for(target):
        return confirmed(failure, functools.partial(failure_of, target=target), target)
    kind = NON_DETERMINISTIC[failure.tensor] if failure.tensor in NON_DETERMINISTIC else type(failure)
    again = kind(failure.case, failure.target, f"{failure.finding}, but not when the case was run again", failure.mismatch)
    return None if known_issues.met(failure.case, failure.target, again) else again
