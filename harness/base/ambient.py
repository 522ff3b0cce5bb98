"""The options in force around a call of ``check``: one immutable value, held by one context variable.

``CheckOptions`` determines how a case is checked, in any process. It is sent whole to a worker, so that no option is missing there.
``Ambient`` adds what only the process that draws cases has. The context managers of the stages (``isolated``, ``sanitizing``,
``covering``, ``in_force``, ``written_ahead``, ``chosen``) change fields within their blocks, by ``using``.

A thread sees the options that it has set itself. A thread that has set none sees those of the main thread at that moment, so a test that
checks cases in threads keeps the options of its run of pytest. To pass the options of another thread on, copy its context
(``contextvars.copy_context().run``).

State of the whole process is kept elsewhere, and each module says why: the interpreter's ``watchers`` (``kernels`` imports nothing of the
harness), the replacements of torch's functions (``execution/allocations.py``), received signals (``signals.py``), the count of compiled
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
    """The options, and handles of the process that draws cases. Later stages define the handles; this one must not import them."""

    target: str | None = None
    """The name of the default target."""

    isolation: Any = None
    """The ``Isolation`` whose worker runs cases; None: they run in this process."""

    journal: Any = None
    """The file to which a case is written before it runs."""

    known_issues: Any = None
    """The ``KnownIssues`` that cover failures."""

    reached: Any = None
    """Where coverage is added: a mutable mapping by target."""

    @property
    def options(self) -> CheckOptions:
        """The options to send to a worker."""
        return CheckOptions(**{field.name: getattr(self, field.name) for field in dataclasses.fields(CheckOptions)})


_NOTHING = Ambient()
_own: ContextVar[Ambient | None] = ContextVar("moefuzz", default=None)
_of_main_thread = _NOTHING


def current() -> Ambient:
    """Return the options in force in this thread."""
    return _own.get() or (_NOTHING if _is_main_thread() else _of_main_thread)


@contextmanager
def using(**changes: Any) -> Iterator[Ambient]:
    """Set some fields within the block. Raises TypeError for an unknown field.

    At the end these fields get their former values back and no other field changes, so two overlapping blocks may end in any order.
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
    """Set all options within the block: in a worker, those that were sent to it."""
    with using(**dataclasses.asdict(options)) as changed:
        yield changed


def _put(state: Ambient | None) -> None:
    global _of_main_thread
    _own.set(state)
    if _is_main_thread():
        _of_main_thread = state or _NOTHING


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
