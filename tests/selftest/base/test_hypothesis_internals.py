"""A canary for each private part of Hypothesis and pytest that is used: it says which part is gone, or behaves otherwise.

A version beyond the upper bounds in pyproject.toml is admitted once the canaries have run with it (test_version_bounds.py).
"""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from hypothesis.database import InMemoryExampleDatabase

from moefuzz.harness.base import hypothesis_internals as internals

LARGEST, WRONG_FROM = 1 << 20, 1000
QUIET = settings(
    max_examples=200, database=None, derandomize=True, deadline=None, verbosity=Verbosity.quiet, suppress_health_check=list(HealthCheck)
)

Canary = Callable[[Path], object]
FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: function
    for name, function in vars(internals).items()
    if inspect.isfunction(function) and function.__module__ == internals.__name__ and not name.startswith("_")
}
CANARIES: dict[str, Canary] = {}


def canary(check: Canary) -> Canary:
    """Register the canary of the function that it is named after."""
    CANARIES[check.__name__] = check
    return check


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_private_part_behaves_as_when_it_was_read(name: str, tmp_path: Path) -> None:
    assert name in CANARIES, f"hypothesis_internals.{name} has no canary here"
    try:
        CANARIES[name](tmp_path)
    except Exception as error:
        installed = f"Hypothesis {version('hypothesis')}, pytest {version('pytest')}"
        pytest.fail(
            f"{type(error).__name__}: {error}\n\nWith {installed} a private part is gone, or behaves otherwise, on which depends "
            f"hypothesis_internals.{name}:\n{inspect.getdoc(FUNCTIONS[name])}"
        )


def example(inner: Callable[[int], None], **changes: Any) -> Any:
    """Return a property of one integer."""
    return settings(QUIET, **changes)(given(st.integers(0, LARGEST))(inner))


def wrong(number: int) -> None:
    assert number < WRONG_FROM


def noting(numbers: list[int], then: Callable[[int], None] = lambda _: None) -> Callable[[int], None]:
    """Return a body of a property that adds to the numbers what it meets."""

    def inner(number: int) -> None:
        numbers.append(number)
        then(number)

    return inner


def seen_with(**changes: Any) -> list[int]:
    """Return the numbers that a property meets which is wrong from 1000 on."""
    numbers: list[int] = []
    with suppress(AssertionError):
        example(noting(numbers, wrong), **changes)()
    return numbers


def stored_choices() -> tuple[int, bytes]:
    """Return the largest number of some examples, and its choices."""
    stored: dict[int, bytes] = {}
    example(lambda number: stored.__setitem__(number, internals.choices_of_example()))()
    return max(stored.items())


def replayed(key: Callable[[bytes], bytes], then: Callable[[int], None] = wrong) -> tuple[int, list[int]]:
    """Return a number that is stored under a key, and those that a property meets in its phases reuse and shrink."""
    (number, choices), database, met = stored_choices(), InMemoryExampleDatabase(), list[int]()
    test = example(noting(met, then), database=database, phases=(Phase.reuse, Phase.shrink), derandomize=False)
    database.save(key(internals.database_key(SimpleNamespace(obj=test))), choices)
    with suppress(AssertionError):
        test()
    return number, met


@contextmanager
def home_put_back() -> Iterator[None]:
    before = internals.home_folder()
    try:
        yield
    finally:
        internals.set_home(before)


@canary
def choices_of_example(_: Path) -> None:
    number, met = replayed(lambda key: key, then=lambda _: None)
    assert met == [number], f"the choices of {number} replay {met}"


@canary
def secondary_key(_: Path) -> None:
    number, met = replayed(internals.secondary_key)
    assert met[0] == number and min(each for each in met if each >= WRONG_FROM) == WRONG_FROM, "what is stored is not shrunk"
    number, met = replayed(lambda key: key)
    assert set(met) == {number}, "what is stored under the key itself is shrunk again"


def keys_asked_for() -> set[bytes]:
    asked: set[bytes] = set()

    class RunSettings(InMemoryExampleDatabase):
        def fetch(self, key: bytes) -> Any:
            asked.add(key)
            return super().fetch(key)

    example(lambda _: None, database=RunSettings(), derandomize=False, phases=(Phase.reuse, Phase.generate, Phase.target))()
    return asked


@canary
def is_secondary(_: Path) -> None:
    assert sum(internals.is_secondary(key) for key in keys_asked_for()) == 1


@canary
def is_primary(_: Path) -> None:
    asked = keys_asked_for()
    (own,) = (key for key in asked if internals.is_primary(key))
    assert len(asked) == 3 and all(key.startswith(own) for key in asked)


@canary
def database_key(_: Path) -> None:
    keys = []
    for nodeid, callspec in (("test_x[1]", {}), ("test_x[1]", {"callspec": None}), ("test_x[2]", {"callspec": None})):
        item, stored = SimpleNamespace(obj=example(wrong), nodeid=nodeid, **callspec), InMemoryExampleDatabase()
        keys.append(internals.database_key(item))
        internals.use_settings(item.obj, settings(QUIET, database=stored, derandomize=False))
        with suppress(AssertionError):
            item.obj()
        assert stored.data.get(keys[-1]), "Hypothesis keeps the failure under another key"
        vars(wrong).pop("_hypothesis_internal_add_digest", None)
    assert len(set(keys)) == 3


@canary
def is_property(_: Path) -> None:
    assert internals.is_property(example(wrong)) and not internals.is_property(wrong) and not internals.is_property(None)


@canary
def inner_test(_: Path) -> None:
    assert internals.inner_test(example(wrong)) is wrong


@canary
def settings_of(_: Path) -> None:
    assert internals.settings_of(example(wrong, max_examples=7)).max_examples == 7


@canary
def use_settings(_: Path) -> None:
    met: list[int] = []
    test = example(noting(met))
    internals.use_settings(test, settings(QUIET, max_examples=7))
    test()
    assert internals.settings_of(test).max_examples == 7 and len(met) == 7


@canary
def replaced(_: Path) -> None:
    first, second = list[int](), list[int]()
    test = example(noting(first), max_examples=3)
    with internals.replaced(test, noting(second), settings(QUIET, max_examples=5)):
        test()
    assert (len(first), len(second)) == (0, 5)
    test()
    assert (len(first), len(second)) == (3, 5)


@canary
def limit_shrinking(_: Path) -> None:
    shrunk = seen_with()
    undo = internals.limit_shrinking(-1.0)
    try:
        not_shrunk = seen_with()
    finally:
        undo()
    assert shrunk[-1] == WRONG_FROM < not_shrunk[-1] and len(not_shrunk) < len(shrunk), "it shrinks all the same"
    assert seen_with() == shrunk, "the limit is not put back"


@canary
def home_folder(folder: Path) -> None:
    with home_put_back():
        internals.set_home(folder)
        assert internals.home_folder("a", "b") == folder / "a" / "b" and not (folder / "a").exists()


@canary
def set_home(folder: Path) -> None:
    with home_put_back():
        internals.set_home(folder)
        database = settings.get_profile("default").database
        assert database is None or str(folder) in repr(database), "Hypothesis' own database lies elsewhere"


IN_PYTEST = """
import pytest
from moefuzz.harness.base.hypothesis_internals import file_of, run_test


def pytest_runtestloop(session):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    for item in session.items:
        for report in run_test(item):
            print(item.name, hasattr(item, "callspec"), report.when, report.outcome, file=file_of(reporter))
    return True
"""
TESTS = """
import pytest


@pytest.fixture
def one():
    return 1


def test_right(one):
    assert one == 1


@pytest.mark.parametrize("two", [2])
def test_wrong(one, two):
    assert one == two
"""


def of_pytest(folder: Path) -> str:
    """Return what a run of pytest prints that runs each test by ``run_test`` and writes by ``file_of``."""
    (folder / "conftest.py").write_text(IN_PYTEST)
    (folder / "test_two.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout  # noqa: S603


@canary
def run_test(folder: Path) -> None:
    text = of_pytest(folder)
    for line in (
        "test_right False setup passed", "test_right False call passed", "test_right False teardown passed",
        "test_wrong[2] True setup passed", "test_wrong[2] True call failed", "test_wrong[2] True teardown passed",
    ):  # fmt: skip
        assert line in text, text


@canary
def file_of(folder: Path) -> None:
    assert "test_right False call passed" in of_pytest(folder)


@canary
def ends_pytest(_: Path) -> None:
    assert internals.ends_pytest(pytest.exit.Exception("said"))
    assert not any(map(internals.ends_pytest, (pytest.skip.Exception("said"), pytest.fail.Exception("said"), ValueError("said"))))
