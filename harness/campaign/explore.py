"""Explore in turns of examples; failures are recorded and not raised, so that one bug does not end the search for the next.

The regimes of all targets take turns: first each in order, then at random, weighted by how much that is new their last turns covered.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st
from hypothesis.database import ExampleDatabase

from moefuzz.harness.base.case import Case
from moefuzz.harness.base.compile_counter import compiled
from moefuzz.harness.base.hypothesis_internals import choices_of_example
from moefuzz.harness.base.resources import LostDevice, NoRoom
from moefuzz.harness.base.signals import held
from moefuzz.harness.failures import Failure
from moefuzz.harness.reduction.explain import Region, is_explained
from moefuzz.harness.reduction.minimise import simpler_cases
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.check import check, failure_of

from .example_database import SharedExamples
from .novelty import Novelty, labels
from .run_folder import EXPLAIN, RunFolder
from .turn import FIRST_TURN, LONGEST_TURN, TURN_SECONDS, Turn, choose_next

Regimes = Mapping[str, Mapping[str, Callable[[Target], st.SearchStrategy[Any] | None]]]

_LEAST_SECONDS = 1.0
"""The shortest first turn of a regime, when many regimes share little time."""

_LOOKS = 6
"""How many simpler cases of an explained failure, outside the regions of its bucket, are tried to find another bug that it masks."""

_INTERESTING = 5


class TurnIsOver(KeyboardInterrupt):
    """Ends a turn whose time is up or whose cases do not fit in memory. Hypothesis lets a KeyboardInterrupt through."""


@dataclass
class Line:
    """A regime of a target, and its priority: how much was new per second (or per example) in its last turns."""

    target: Target
    regime: str
    strategy: st.SearchStrategy[Any]
    turns: int = 0
    priority: float = 0.0


class Explorer:
    """Draws examples for ``targets`` from ``regimes``, and writes each failure that is not explained yet into the run's folder."""

    def __init__(
        self,
        targets: Sequence[Target],
        regimes: Regimes,
        run: RunFolder,
        *,
        database: ExampleDatabase | None = None,
        shuffled: bool = False,
        seed: str = "",
    ) -> None:
        drawn = [(target, name, regime(target)) for target in targets for name, regime in regimes[target.level].items()]
        self.lines = [Line(target, name, strategy) for target, name, strategy in drawn if strategy is not None]
        self.run, self.database = run, database
        self.examples, self.seed = 0, seed or str(random.SystemRandom().getrandbits(32))
        self._novelty, self._chance, self._barren = Novelty(), random.Random(self.seed), 0  # noqa: S311 - a run can be repeated
        if shuffled:  # so that no regime is always last when many workers start together or one restarts often
            self._chance.shuffle(self.lines)
        self.met: dict[str, tuple[int, float]] = {}  # key of a failure: number of examples before it, and the time
        self.running_since: float | None = None  # start time of the case that runs now
        self._now: Turn | None = None
        self._began = 0.0

    def line(self, target: str, regime: str) -> Line | None:
        """Return the line of a target and a regime, or None."""
        return next((line for line in self.lines if (line.target.name, line.regime) == (target, regime)), None)

    def turn(self, stop: float, most: int | None = None) -> Turn:
        """Run one turn, which ends at about ``stop`` of ``time.monotonic()``, or after ``most`` examples; return its counts.

        With ``most`` the examples depend on the seed alone, and not on measured time. Raises LostDevice if no case can run any more.
        """
        line, self._began = choose_next(self.lines, self._chance), time.monotonic()
        self._now = done = Turn(line.target.name, line.target.level, line.regime)
        compiles = compiled()
        covered = self._explored(line, done, stop if most is not None else self._began + self._share(stop), most)
        self._probe_masked_bugs(covered, line, done, stop)
        done.compiles = compiled() - compiles
        self.under_way()
        self._now = None
        line.turns += 1
        priority = (done.fresh + 10 * done.found) / (max(done.seconds, 1e-3) if most is None else max(done.examples, 1))
        line.priority = priority if line.turns == 1 else (line.priority + priority) / 2
        self._barren = 0 if done.examples else self._barren + 1
        if self._barren >= len(self.lines) and done.no_room:
            raise LostDevice("no case had room for a whole round of the regimes")
        return done

    def _share(self, stop: float) -> float:
        """Return how many seconds this turn may take: the rest of the time is divided among the regimes that had no turn yet."""
        left = stop - self._began
        waiting = sum(not line.turns for line in self.lines)
        return min(left, TURN_SECONDS, max(_LEAST_SECONDS, left / waiting) if waiting else TURN_SECONDS)

    def under_way(self) -> Turn | None:
        """Return the turn that runs now or that an exception ended, with its seconds up to now; else None."""
        if self._now is not None:
            self._now.seconds = time.monotonic() - self._began
        return self._now

    def offer(self, failure: Failure, done: Turn, choices: bytes = b"") -> None:
        """Queue a failure of a turn for reduction, unless its bucket has a candidate already."""
        found = self.run.offer(failure, done.target, done.regime, choices)
        if found is not None:
            done.found += 1
            self.met[found.key] = self.examples, time.monotonic()

    def _explored(self, line: Line, done: Turn, stop: float, most: int | None) -> list[Failure]:
        """Run the examples of a turn; return the failures that a report explains already."""
        covered: list[Failure] = []
        buckets: set[object] = set()
        shared = SharedExamples(self.database, line.target.name, line.regime) if self.database is not None else None
        length = min(FIRST_TURN << min(line.turns, 20), LONGEST_TURN)

        @settings(
            max_examples=length if most is None else min(length, most),
            deadline=None,
            database=shared,
            derandomize=False,
            verbosity=Verbosity.quiet,
            phases=(Phase.generate,) if line.turns else (Phase.reuse, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        # seed must stand below settings: applied above, it drops their database
        @seed(int.from_bytes(hashlib.sha256(f"{self.seed} {line.target.name} {line.regime} {line.turns}".encode()).digest()[:8]))
        @given(line.strategy)
        def attempt(case: Case) -> None:
            at = time.monotonic()
            if at > stop:
                raise TurnIsOver
            if is_explained(case, line.target, self._expensive_regions(line.target)):
                done.passed_by += 1
                return
            failure = self._run(line.target, case, done)
            with held():  # an interrupt must not lose a failure
                said = labels(case)
                done.note(said, case, time.monotonic() - at)
                fresh, is_new = self._novelty.new_labels(line.target.name, said)
                done.fresh += fresh
                choices = choices_of_example()
                if shared is not None and (is_new or (failure is not None and failure.bucket not in buckets)):
                    shared.keep(choices)
                if is_new and failure is None and len(done.interesting) < _INTERESTING:
                    done.interesting.append(json.loads(case.to_json()))
                if failure is None:
                    return
                buckets.add(failure.bucket)
                if is_explained(case, line.target, self.run.regions(failure.bucket)):
                    done.passed_by += 1
                    covered.append(failure)
                else:
                    self.offer(failure, done, choices)

        with contextlib.suppress(TurnIsOver):
            attempt()
        return covered

    def _expensive_regions(self, target: Target) -> list[Region]:
        """Return the exact regions in which a case is known to end its process or to time out; such a case is not run again."""
        ended = [one for one in self.run.found() if one.outcome in EXPLAIN and one.bucket[0] == target.name and one.kind.ends_a_process]
        return [one.region for one in ended if one.region.needs and one.region.is_exact]

    def _run(self, target: Target, case: Case, done: Turn) -> Failure | None:
        """Run one case and count it; return its failure or None. Raises NoRoom, and TurnIsOver once that was too often."""
        done.examples += 1
        self.examples += 1
        self.running_since = time.monotonic()
        try:
            agreement = check(case, target)
        except NoRoom:
            done.examples -= 1
            self.examples -= 1
            done.no_room += 1
            if done.no_room >= FIRST_TURN:
                raise TurnIsOver from None
            raise
        except Failure as failure:
            done.failing += 1
            return _light(failure)
        finally:
            self.running_since = None
        done.refused += bool(agreement.refused)
        done.known += bool(agreement.known)
        for tensor, share in agreement.shares.items():
            done.shares[tensor] = max(share, done.shares.get(tensor, 0.0))
        return None

    def _probe_masked_bugs(self, covered: list[Failure], line: Line, done: Turn, stop: float) -> None:
        """Search for a bug that an explained one masks: run simpler cases outside every region, and offer those that fail in its bucket."""
        for failure in self._chance.sample(covered, min(3, len(covered))):
            regions = self.run.regions(failure.bucket)
            simpler = list(simpler_cases(failure.case))
            some = self._chance.sample(simpler, min(5 * _LOOKS, len(simpler)))
            for case in [case for case in some if not is_explained(case, line.target, regions)][:_LOOKS]:
                if time.monotonic() > stop:
                    return
                other = failure_of(case, line.target)
                if other is not None and other.bucket == failure.bucket:
                    self.offer(_light(other), done)


def _light(failure: Failure) -> Failure:
    """Return the failure without tensors and traceback (which refers to tensors); what the target raised stays as a note."""
    failure.checked = None
    if failure.__cause__ is not None:
        failure.add_note("".join(traceback.format_exception(failure.__cause__)))
    failure.__cause__ = failure.__context__ = None
    return failure.with_traceback(None)
