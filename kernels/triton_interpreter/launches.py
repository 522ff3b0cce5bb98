"""Show launches under Triton's interpreter to watchers, which can run some of a launch's programs again."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .accesses import Program, Watcher, watchers


@dataclass(eq=False)
class Launch:
    """One launch of a kernel."""

    kernel: Callable[..., Any]
    arguments: dict[str, Any]  # by name, as they were passed
    _executor: Any = field(repr=False)
    _run: Callable[[], object] = field(repr=False)
    grid: Program = field(default=(0, 0, 0), init=False)  # known at its end

    @property
    def programs(self) -> list[Program]:
        """All programs of the launch, in the interpreter's order."""
        x, y, z = map(range, self.grid)
        return list(itertools.product(x, y, z))

    def again(self, watcher: Watcher, programs: Sequence[Program]) -> None:
        """Run some of the programs again in the given order, shown to one watcher only; to be called at its ``end``."""
        shown, watchers[:] = list(watchers), [watcher]
        executor = self._executor
        grid, executor.grid = executor.grid, (len(programs), 1, 1)
        hooks, executor.pre_run_hooks = executor.pre_run_hooks, []  # the hooks have run already
        _again.append((self.grid, programs))
        try:
            self._run()
        finally:
            _again.pop()
            executor.grid, executor.pre_run_hooks = grid, hooks
            watchers[:] = shown


_one_at_a_time = threading.RLock()  # the interpreter has one program counter, and one triton.language to patch, for all threads
_again: list[tuple[Program, Sequence[Program]]] = []  # the grid, and the programs of it that are run again


def install(interpreter: Any) -> None:
    """Wrap the launches of Triton's interpreter, once; ``accesses.WRAPPED`` has the names."""
    builder = interpreter.InterpreterBuilder
    builder.set_grid_dim = _as_launched(builder.set_grid_dim)
    builder.set_grid_idx = _as_chosen(builder.set_grid_idx)
    interpreter.GridExecutor.__call__ = _launch(interpreter.GridExecutor.__call__, interpreter)


def _as_launched(set_grid_dim: Any) -> Any:
    @functools.wraps(set_grid_dim)
    def whole(self: Any, *sizes: int) -> None:
        set_grid_dim(self, *(_again[-1][0] if _again else sizes))

    return whole


def _as_chosen(set_grid_idx: Any) -> Any:
    @functools.wraps(set_grid_idx)
    def chosen(self: Any, *index: int) -> None:
        set_grid_idx(self, *(_again[-1][1][index[0]] if _again else index))

    return chosen


def _launch(call: Any, interpreter: Any) -> Any:
    @functools.wraps(call)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _one_at_a_time:
            if not watchers:
                return call(self, *args, **kwargs)
            arguments = dict(zip(self.arg_names, args, strict=False)) | kwargs
            launch = Launch(self.fn, arguments, self, lambda: call(self, *args, **kwargs))
            patched = interpreter._patch_lang(self.fn)  # until the end, so that programs that run again need no patching
            try:
                with _shown(launch, interpreter.interpreter_builder):
                    return call(self, *args, **kwargs)
            finally:
                patched.restore()

    return watched


@contextmanager
def _shown(launch: Launch, builder: Any) -> Iterator[None]:
    shown = list(watchers)
    for watcher in shown:
        watcher.begin(launch)
    finished = False
    try:
        yield
        finished = True
    finally:
        launch.grid = getattr(builder, "grid_dim", launch.grid)  # it has none before the first program of all
        for watcher in reversed(shown):
            watcher.end(launch, finished=finished)
