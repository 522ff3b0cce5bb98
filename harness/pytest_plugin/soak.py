"""``pytest --moe-time 8h``: properties are explored for so long before the tests run, and the tests then show what was found.

One run of a property stops looking soon after its first failure. So the properties take turns first, in which failures are recorded and not
raised: each goes to Hypothesis' database, from where the ordinary run of the test takes it, shrinks it and reports it. Under xdist every
process explores, and any of them shows what all have found.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, Phase, settings
from hypothesis.control import current_build_context
from hypothesis.database import choices_to_bytes
from hypothesis.errors import HypothesisException
from hypothesis.internal.reflection import function_digest

from moefuzz.harness.campaign.novelty import Behaviours, labels
from moefuzz.harness.campaign.turn import FIRST_TURN, LONGEST_TURN, TURN_SECONDS, following
from moefuzz.harness.levels.cases import Case

_LINE_SECONDS = 60.0
_REDUCING = (Phase.explicit, Phase.reuse, Phase.shrink)


@dataclass
class Soaked:
    """A property and what its turns yielded."""

    item: Any
    turns: int = 0
    worth: float = 0.0
    examples: int = 0
    failing: int = 0
    fresh: int = 0  # labels and pairs of labels met for the first time
    errors: set[str] = field(default_factory=set)


class Soak:
    """Explores the properties of a run of pytest for ``seconds``, then lets the tests run."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._behaviours, self._chance = Behaviours(), random.SystemRandom()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        lines = [Soaked(item) for item in session.items if _is_property(item)]
        if lines and not session.config.option.collectonly:
            self._explore(lines, session)
            for line in lines:  # which shows what was found, and draws nothing new
                line.item.obj._hypothesis_internal_use_settings = settings(_settings_of(line.item), phases=_REDUCING)
        return (yield)

    def _explore(self, lines: list[Soaked], session: pytest.Session) -> None:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        stop = said = time.monotonic()
        stop += self.seconds
        while (now := time.monotonic()) < stop:
            self._turn(following(lines, self._chance), min(stop, now + TURN_SECONDS))
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
            for report in runtestprotocol(line.item, nextitem=None, log=False):
                if report.failed and report.when == "setup":
                    line.worth = -1.0
        line.turns += 1
        line.worth = (line.fresh - fresh + 10 * (len(line.errors) - errors)) / max(time.monotonic() - began, 1e-3)

    def _recording(self, line: Soaked, stop: float) -> Callable[..., None]:
        """Return a test that runs the property until ``stop``, counts its examples, and keeps the failing ones instead of raising."""
        database, inner = _settings_of(line.item).database, line.item.obj.hypothesis.inner_test
        if hasattr(line.item, "callspec"):  # as Hypothesis' plugin does
            inner._hypothesis_internal_add_digest = line.item.nodeid.encode()
        key = function_digest(inner)

        def recorded(*arguments: Any, **drawn: Any) -> None:
            if time.monotonic() > stop:
                return
            line.examples += 1
            for case in drawn.values():
                if isinstance(case, Case):
                    line.fresh += self._behaviours.fresh(line.item.nodeid, labels(case))[0]
            try:
                inner(*arguments, **drawn)
            except (HypothesisException, pytest.skip.Exception):
                raise
            except Exception as error:
                line.failing += 1
                if type(error).__name__ not in line.errors and database is not None:
                    line.errors.add(type(error).__name__)
                    # what comes from the primary corpus is not shrunk again
                    database.save(key + b".secondary", choices_to_bytes(current_build_context().data.choices))

        return recorded


@contextmanager
def _replaced(item: Any, test: Any, examples: int) -> Iterator[None]:
    """While it lasts, the property runs ``test``, and so many new examples."""
    property_ = item.obj
    inner, own = property_.hypothesis.inner_test, _settings_of(item)
    property_.hypothesis.inner_test = test
    property_._hypothesis_internal_use_settings = settings(
        own, max_examples=examples, phases=(Phase.generate,), database=None, derandomize=False, suppress_health_check=list(HealthCheck)
    )
    try:
        yield
    finally:
        property_.hypothesis.inner_test, property_._hypothesis_internal_use_settings = inner, own


def _settings_of(item: Any) -> settings:
    own: settings = item.obj._hypothesis_internal_use_settings
    return own


def _is_property(item: Any) -> bool:
    return getattr(getattr(item, "obj", None), "is_hypothesis_test", False) and not item.get_closest_marker("skip")


def _in_words(lines: list[Soaked]) -> str:
    examples, failing = sum(line.examples for line in lines), sum(line.failing for line in lines)
    kinds = sum(len(line.errors) for line in lines)
    return f"{examples} examples of {len(lines)} properties, {failing} failing, {kinds} to be reduced"
