"""``pytest --moe-time 8h``: explore the properties for so long before the tests run; the tests then show what was found.

A run of a property stops soon after its first failure. So the properties first take turns in which failures are recorded and not raised:
each is saved to Hypothesis' database, from which the ordinary run of the test replays, shrinks and reports it. Under xdist every process
explores, and any process can show what all have found.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import HypothesisException

from moefuzz.harness.base.case import Case
from moefuzz.harness.base.hypothesis_internals import (
    choices_of_example,
    database_key,
    inner_test,
    is_property,
    replaced,
    run_test,
    secondary_key,
    settings_of,
    use_settings,
)
from moefuzz.harness.campaign.novelty import Novelty, labels
from moefuzz.harness.campaign.turn import FIRST_TURN, LONGEST_TURN, TURN_SECONDS, choose_next

_LINE_SECONDS = 60.0
_REDUCING = (Phase.explicit, Phase.reuse, Phase.shrink)


@dataclass
class Soaked:
    """A property and the counts of its turns."""

    item: Any
    turns: int = 0
    priority: float = 0.0
    examples: int = 0
    failing: int = 0
    fresh: int = 0  # labels and pairs of labels covered for the first time
    errors: set[str] = field(default_factory=set)


class Soak:
    """Explores the properties of a run of pytest for ``seconds``, then lets the tests run."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._novelty, self._chance = Novelty(), random.SystemRandom()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        lines = [Soaked(item) for item in session.items if _is_property(item)]
        if lines and not session.config.option.collectonly:
            self._explore(lines, session)
            for line in lines:  # the tests show what was found, and draw nothing new
                use_settings(line.item.obj, settings(settings_of(line.item.obj), phases=_REDUCING))
        return (yield)

    def _explore(self, lines: list[Soaked], session: pytest.Session) -> None:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        stop = said = time.monotonic()
        stop += self.seconds
        while (now := time.monotonic()) < stop:
            self._turn(choose_next(lines, self._chance), min(stop, now + TURN_SECONDS))
            if reporter and time.monotonic() > said + _LINE_SECONDS:
                said = time.monotonic()
                reporter.write_line(f"moefuzz: {_in_words(lines)}, {stop - said:.0f} s left")
        if reporter:
            reporter.write_line(f"moefuzz: explored for {self.seconds:.0f} s: {_in_words(lines)}")
            if unreached := [line.item.name for line in lines if not line.examples]:
                reporter.write_line(f"moefuzz: no example of {', '.join(unreached)}")

    def _turn(self, line: Soaked, stop: float) -> None:
        began, fresh, errors = time.monotonic(), line.fresh, len(line.errors)
        examples = min(FIRST_TURN << min(line.turns, 20), LONGEST_TURN)
        with _replaced(line.item, self._recording(line, stop), examples):
            for report in run_test(line.item):
                if report.failed and report.when == "setup":
                    line.priority = -1.0
        line.turns += 1
        line.priority = (line.fresh - fresh + 10 * (len(line.errors) - errors)) / max(time.monotonic() - began, 1e-3)

    def _recording(self, line: Soaked, stop: float) -> Callable[..., None]:
        """Return a test that runs the property until ``stop``, counts its examples, and keeps the failing ones instead of raising."""
        database, inner, key = settings_of(line.item.obj).database, inner_test(line.item.obj), database_key(line.item)

        def recorded(*arguments: Any, **drawn: Any) -> None:
            if time.monotonic() > stop:
                return
            line.examples += 1
            for case in drawn.values():
                if isinstance(case, Case):
                    line.fresh += self._novelty.new_labels(line.item.nodeid, labels(case))[0]
            try:
                inner(*arguments, **drawn)
            except (HypothesisException, pytest.skip.Exception):
                raise
            except Exception as error:
                line.failing += 1
                if type(error).__name__ not in line.errors and database is not None:
                    line.errors.add(type(error).__name__)
                    # Hypothesis does not shrink examples of the primary corpus again
                    database.save(secondary_key(key), choices_of_example())

        return recorded


@contextmanager
def _replaced(item: Any, test: Any, examples: int) -> Iterator[None]:
    """Replace the property's test by ``test`` within this context, with so many new examples."""
    own = settings_of(item.obj)
    new = settings(
        own, max_examples=examples, phases=(Phase.generate,), database=None, derandomize=False, suppress_health_check=list(HealthCheck)
    )
    with replaced(item.obj, test, new):
        yield


def _is_property(item: Any) -> bool:
    return is_property(getattr(item, "obj", None)) and not item.get_closest_marker("skip")


def _in_words(lines: list[Soaked]) -> str:
    examples, failing = sum(line.examples for line in lines), sum(line.failing for line in lines)
    kinds = sum(len(line.errors) for line in lines)
    return f"{examples} examples of {len(lines)} properties, {failing} failing, {kinds} to be reduced"
