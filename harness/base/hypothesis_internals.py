"""All uses of undocumented parts of Hypothesis and pytest: one function for each part. No other module uses such a part.

Each docstring names the version in which the part was read. ``tests/selftest/base/test_hypothesis_internals.py`` has a canary for each
function; ``test_version_bounds.py`` beside it explains the upper bounds of both packages in pyproject.toml. Neither package is imported
before a function needs it: the pytest plugin is loaded in projects that use no Hypothesis, and the harness runs where pytest does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    import pytest
    from hypothesis import settings

_SECONDARY, _PARETO = b".secondary", b".pareto"


def choices_of_example() -> bytes:
    """Return the choices of the example that runs, as an examples database keeps them.

    Read in Hypothesis 6.170.15: ``control.current_build_context().data.choices``, ``database.choices_to_bytes``.
    """
    from hypothesis.control import current_build_context
    from hypothesis.database import choices_to_bytes

    return choices_to_bytes(current_build_context().data.choices)


def secondary_key(key: bytes) -> bytes:
    """Return the key of the examples that Hypothesis replays and then shrinks; it treats those under ``key`` itself as shrunk.

    Read in Hypothesis 6.170.15: ``internal.conjecture.engine.ConjectureRunner.secondary_key``.
    """
    return key + _SECONDARY


def is_secondary(key: bytes) -> bool:
    """Return whether a key is one of ``secondary_key``.

    Read in Hypothesis 6.170.15: ``internal.conjecture.engine.ConjectureRunner.secondary_key``.
    """
    return key.endswith(_SECONDARY)


def is_primary(key: bytes) -> bool:
    """Return whether a key is that of a test itself, from which the others are derived.

    Read in Hypothesis 6.170.15: ``internal.conjecture.engine.ConjectureRunner.sub_key``, with ``secondary_key`` and ``pareto_key``.
    """
    return not key.endswith((_SECONDARY, _PARETO))


def database_key(item: Any) -> bytes:
    """Return the key under which Hypothesis keeps the examples of a test that pytest has collected.

    Read in Hypothesis 6.170.15: ``internal.reflection.function_digest``, and ``_hypothesis_internal_add_digest``, which its plugin sets for
    tests with parameters. Read in pytest 9.2.0: ``callspec``, which an item has that has parameters.
    """
    from hypothesis.internal.reflection import function_digest

    inner = inner_test(item.obj)
    if hasattr(item, "callspec"):
        inner._hypothesis_internal_add_digest = item.nodeid.encode()
    return function_digest(inner)


def is_property(function: object) -> bool:
    """Return whether a function is a test that ``given`` made.

    Read in Hypothesis 6.170.15: the attribute ``is_hypothesis_test``.
    """
    return getattr(function, "is_hypothesis_test", False) is True


def inner_test(test: Any) -> Any:
    """Return the function that ``given`` wraps.

    Read in Hypothesis 6.170.15: the attribute ``hypothesis.inner_test`` of the test.
    """
    return test.hypothesis.inner_test


def settings_of(test: Any) -> settings:
    """Return the settings with which a test of ``given`` runs.

    Read in Hypothesis 6.170.15: the attribute ``_hypothesis_internal_use_settings`` of the test.
    """
    own: settings = test._hypothesis_internal_use_settings
    return own


def use_settings(test: Any, new: settings) -> None:
    """Make a test of ``given`` run with other settings.

    Read in Hypothesis 6.170.15: the attribute ``_hypothesis_internal_use_settings`` of the test, which it reads at each call.
    """
    test._hypothesis_internal_use_settings = new


@contextmanager
def replaced(test: Any, inner: Callable[..., None], new: settings) -> Iterator[None]:
    """Make a test of ``given`` run another function, with other settings, within the block.

    Read in Hypothesis 6.170.15: the attribute ``hypothesis.inner_test`` of the test, which it reads at each call.
    """
    own, before = settings_of(test), inner_test(test)
    test.hypothesis.inner_test = inner
    use_settings(test, new)
    try:
        yield
    finally:
        test.hypothesis.inner_test = before
        use_settings(test, own)


def limit_shrinking(seconds: float) -> Callable[[], None]:
    """Limit the time for which Hypothesis shrinks a failure; return a function that undoes it.

    Read in Hypothesis 6.170.15: ``internal.conjecture.engine.MAX_SHRINKING_SECONDS``, which is 300.
    """
    from hypothesis.internal.conjecture import engine

    before = engine.MAX_SHRINKING_SECONDS
    engine.MAX_SHRINKING_SECONDS = seconds  # type: ignore[assignment]  # it is added to a time

    def undo() -> None:
        engine.MAX_SHRINKING_SECONDS = before

    return undo


def home_folder(*names: str) -> Path:
    """Return the path of a folder below Hypothesis' home; the folder need not exist.

    Read in Hypothesis 6.170.15: ``configuration.storage_directory``, whose value has a ``path``. In 6.150.0 it is the path.
    """
    from hypothesis.configuration import storage_directory

    found: Any = storage_directory(*names, intent_to_write=False)
    return Path(getattr(found, "path", found))


def set_home(folder: Path) -> None:
    """Make a folder Hypothesis' home, whatever the working directory.

    Read in Hypothesis 6.170.15: ``configuration.set_hypothesis_home_dir``.
    """
    from hypothesis.configuration import set_hypothesis_home_dir

    set_hypothesis_home_dir(folder)


def run_test(item: pytest.Item) -> list[pytest.TestReport]:
    """Run a test that pytest has collected, with its fixtures; return the reports of its phases, which plugins do not get.

    Read in pytest 9.2.0: ``_pytest.runner.runtestprotocol``.
    """
    from _pytest.runner import runtestprotocol

    return runtestprotocol(item, nextitem=None, log=False)


def file_of(terminalreporter: pytest.TerminalReporter) -> TextIO:
    """Return the file to which pytest writes its terminal output.

    Read in pytest 9.2.0: ``_tw._file`` of its reporter.
    """
    return terminalreporter._tw._file


def ends_pytest(error: BaseException) -> bool:
    """Return whether an exception is one with which pytest ends a test or a run, as that of ``pytest.exit``.

    Read in pytest 9.2.0: the modules in which these are defined. Those of ``pytest.skip`` and ``pytest.fail`` claim to be builtins.
    """
    return type(error).__module__.startswith("_pytest.")
