"""What is in force around a call of ``check``: one immutable value, held by one context variable.

``CheckOptions`` decides how a case is checked, in whatever process. It is sent whole to a worker, so that no option is forgotten there.
``Ambient`` adds what only the process that draws cases has. The context managers of the stages (``isolated``, ``sanitizing``,
``covering``, ``in_force``, ``written_ahead``, ``chosen``) change their fields while they last, by ``using``.

A thread sees what it has put in force itself. A thread that has put nothing in force sees what is in force in the main thread at that
moment: a test that checks cases in threads keeps the options of its run of pytest. What another thread has put in force is handed on by a
copy of its context (``contextvars.copy_context().run``).

State of the whole process stays elsewhere, and each module says why: the interpreter's ``watchers`` (``kernels`` imports nothing of the
harness), what stands in for torch's functions (``execution/allocations.py``), what signals told (``signals.py``), the count of compiled
kernels (``compile_counter.py``), the journal of a process of pytest (``pytest_process.py``), and targets by name
(``targets/registry.py``).
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CheckOptions:
    """How a case is checked, in this process or in a worker: plain values, which can be pickled."""

    sanitize: bool = False
    """Watch each access of Triton kernels under the interpreter."""

    coverage: bool = False
    """Collect which lines, branches and masks of Triton kernels are reached."""


@dataclass(frozen=True)
class Ambient(CheckOptions):
    """The options, and handles of the process that draws cases. The handles are of later stages, which this one must not import."""

    target: str | None = None
    """The target that is the default."""

    isolation: Any = None
    """The ``Isolation`` whose worker runs cases; None: they run in this process."""

    journal: Any = None
    """The file into which the running case is written ahead."""

    known_issues: Any = None
    """The ``KnownIssues`` that cover failures."""

    reached: Any = None
    """Where coverage is added: a mutable mapping by target."""

    @property
    def options(self) -> CheckOptions:
        """What a worker must know."""
        return CheckOptions(**{field.name: getattr(self, field.name) for field in dataclasses.fields(CheckOptions)})


_NOTHING = Ambient()
_own: ContextVar[Ambient | None] = ContextVar("moefuzz", default=None)
_of_main_thread = _NOTHING


def current() -> Ambient:
    """Return what is in force in this thread."""
    return _own.get() or (_NOTHING if _is_main_thread() else _of_main_thread)


@contextmanager
def using(**changes: Any) -> Iterator[Ambient]:
    """Put other values of some fields in force while it lasts. Raise TypeError for a field that there is not.

    At the end each of these fields has its former value again, and no other field is touched: two that overlap may end in any order.
    """
    own, before = _own.get(), current()
    changed = dataclasses.replace(before, **changes)
    _put(changed)
    try:
        yield changed
    finally:
        now = _own.get()
        _put(own if now is changed or now is None else dataclasses.replace(now, **{name: getattr(before, name) for name in changes}))


@contextmanager
def using_options(options: CheckOptions) -> Iterator[Ambient]:
    """Put options in force while it lasts, all of them: in a worker, those that it was sent."""
    with using(**dataclasses.asdict(options)) as changed:
        yield changed


def _put(state: Ambient | None) -> None:
    global _of_main_thread
    _own.set(state)
    if _is_main_thread():
        _of_main_thread = state or _NOTHING


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
