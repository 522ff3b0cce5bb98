"""Cases in a worker process: a case that crashes, hangs or loses its CUDA context does not affect the process that draws cases.

The worker is forked from a forkserver that has torch and Triton loaded and no CUDA context; a spare worker is kept ready. After each case a
worker on a GPU synchronises and checks that its device still answers. If it does not, and after a crash or a hang, the spare replaces the
worker. So the next case runs in a process that has not run the last one, which matters most while a failure is minimised.

pebble starts, watches and kills the processes. A target that is given neither by name nor as ``pkg.mod:attr`` cannot be imported by a
worker, and runs in this process.
"""

from __future__ import annotations

import functools
import os
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from moefuzz.harness.base import ambient
from moefuzz.harness.base.case import Case
from moefuzz.harness.base.compile_counter import add as compiled_there
from moefuzz.harness.base.limits import CASE_SECONDS
from moefuzz.harness.base.resources import LostDevice, NoRoom
from moefuzz.harness.failures import Crash, CudaError, Failure, Hang, ThreadLeft, not_refused, unreproducible
from moefuzz.harness.targets import BadTarget, Target
from moefuzz.harness.targets.registry import load_target

from . import crash_stack, forkserver, kernel_coverage
from .isolation_worker import counted, is_alive, loaded, start

if TYPE_CHECKING:
    from .agreement import Agreement

Answer = TypeVar("Answer")
Given = ParamSpec("Given")

CONFIRMATIONS = 3
"""The number of new processes in which a case is tried before its failure counts as unreproducible."""

_START_SECONDS, _LOOK_SECONDS = 120.0, 0.25
_NO_STATUS = 255  # what multiprocessing gives where the forkserver, which knows the status, has ended


def _one_at_a_time(method: Callable[Concatenate[Isolation, Given], Answer]) -> Callable[Concatenate[Isolation, Given], Answer]:
    """Let one thread at a time call the method: the worker runs one case at a time, and may have to be replaced."""

    @functools.wraps(method)
    def in_turn(self: Isolation, /, *args: Given.args, **keywords: Given.kwargs) -> Answer:
        __tracebackhide__ = True
        with self.lock:
            return method(self, *args, **keywords)

    return in_turn


class Isolation:
    """A worker and its spare. ``hurrying`` shortens the time limit of a case, to minimise a hang; ``confirming`` restores it in full."""

    def __init__(self, seconds: float = CASE_SECONDS) -> None:
        self.lock = threading.RLock()
        self.seconds, self._limit, self._took = seconds, seconds, deque[float](maxlen=100)
        self._context = forkserver.context()
        self._stacks = tempfile.TemporaryDirectory(prefix="moefuzz-", ignore_cleanup_errors=True)
        self._pools = 0
        self._spare = self._started()
        self._renew()

    @_one_at_a_time
    def check(self, case: Case, target: Target, *, again: bool = True) -> Agreement:
        """Check the case in the worker, and return the Agreement. Raises Failure, NoRoom, LostDevice."""
        __tracebackhide__ = True
        from pebble import ProcessExpired

        began = time.monotonic()
        try:
            options = ambient.current().options
            said, compiles, reached = self._answer(counted, case.to_json(), target.name, options, self._limit, seconds=self._limit)
            compiled_there(compiles)
            kernel_coverage.add(reached)
        except TimeoutError:
            failure: Failure = self._with_stack(Hang, case, target, f"still ran after {self._limit:.0f} s")
        except ProcessExpired as death:
            if again and death.exitcode in (-signal.SIGKILL, _NO_STATUS):  # killed from outside: lack of memory, or a person?
                self._renew()
                return self.check(case, target, again=False)
            failure = self._with_stack(Crash, case, target, _end_in_words(death.exitcode))
        except _Gone:
            if again:  # the forkserver may have ended
                self._renew()
                return self.check(case, target, again=False)
            failure = self._with_stack(Crash, case, target, "ended its process, or the one that starts them, without a word")
        else:
            self._took.append(time.monotonic() - began)
            if isinstance(said, str):
                raise NoRoom(said)
            if not isinstance(said, Failure):
                agreement: Agreement = said
                return agreement
            if not isinstance(said, CudaError | ThreadLeft):
                raise said
            failure = said  # no other case may run in this process
        self._renew()
        limit = target.limit_on(case)
        raise failure if limit is None else not_refused(failure, limit)

    @_one_at_a_time
    def run_in_worker(self, function: Callable[..., Answer], *arguments: Any) -> Answer | None:
        """Call a function of a module in the worker, and return its result; None if the worker ends meanwhile, or takes too long."""
        from pebble import ProcessExpired

        try:
            answer: Answer = self._answer(function, *arguments, seconds=self.seconds)
        except (TimeoutError, ProcessExpired, _Gone):
            self._renew()
            return None
        return answer

    @_one_at_a_time
    def load(self, spec: str) -> Target:
        """Import a target in the worker alone, and return its declaration. Raises BadTarget, also where the import ends the worker."""
        from pebble import ProcessExpired

        try:
            target: Target = self._answer(loaded, spec, _START_SECONDS, seconds=_START_SECONDS)
        except TimeoutError:
            end = f"took more than {_START_SECONDS:.0f} s"
        except ProcessExpired as death:
            end = _end_in_words(death.exitcode)
        except _Gone:
            end = "ended its process"
        else:
            return target
        stack = crash_stack.read(self._stack)
        self._renew()
        raise BadTarget(f"target {spec!r}: importing it {stack.ending(end)}")

    def _with_stack(self, kind: type[Failure], case: Case, target: Target, end: str) -> Failure:
        """Return a failure of a kind for a worker that has ended, with the place that its stack names."""
        stack = crash_stack.read(self._stack)
        failure = kind(case, target.name, stack.ending(end))
        if stack.text:
            failure.add_note(stack.text)
        return failure

    def _answer(self, function: Callable[..., Any], *arguments: Any, seconds: float) -> Any:
        """Return the function's result in the worker. Raises TimeoutError, pebble's ProcessExpired, _Gone, or what the function raised."""
        from pebble import ProcessExpired

        try:
            future = self._pool.schedule(function, args=arguments, timeout=seconds)
            while True:
                try:
                    return future.result(timeout=_LOOK_SECONDS)
                except TimeoutError:
                    if future.done() or not is_alive(self._worker):
                        break
            if not future.done():  # pebble takes a worker that exits with status 0 for one that has nothing to do
                raise _Gone
            return future.result()
        except (TimeoutError, ProcessExpired):
            raise
        except (RuntimeError, OSError) as error:
            if hasattr(error, "traceback"):  # the function's own
                raise
            raise _Gone from error  # the pool is broken

    @contextmanager
    def hurrying(self) -> Iterator[None]:
        """Limit the time of a case, within the block, to twenty times the median of recent cases."""
        usual = sorted(self._took)[len(self._took) // 2] if self._took else self.seconds
        limit, self._limit = self._limit, min(self.seconds, max(2.0, 20 * usual))
        try:
            yield
        finally:
            self._limit = limit

    @contextmanager
    def confirming(self) -> Iterator[None]:
        """Replace the worker by one that has run no case, and restore the full time limit, within the block."""
        limit, self._limit = self._limit, self.seconds
        self._renew()
        try:
            yield
        finally:
            self._limit = limit

    def close(self) -> None:
        """End the worker and its spare."""
        _end(self._pool, self._worker)
        _end(self._spare[0], self._spare[1].result() if self._spare[1].done() and not self._spare[1].exception() else None)
        self._stacks.cleanup()

    @_one_at_a_time
    def _renew(self, *, again: bool = True) -> None:
        """Replace the worker by the spare, and start another spare. Raises LostDevice where no worker can be started."""
        if old := getattr(self, "_pool", None):
            _end(old, getattr(self, "_worker", None))  # and with it the memory that it holds on the device
        (self._pool, ready, self._stack), self._spare = self._spare, self._started()
        try:
            self._worker = ready.result()
            self._pool.schedule(os.getpid).result()
        except (RuntimeError, OSError) as error:
            if again and not hasattr(error, "traceback"):  # the spare ended with the forkserver
                self._renew(again=False)
                return
            raise LostDevice(f"no worker process can be started: {type(error).__name__}: {error}".partition("\n")[0]) from error
        except Exception as error:
            said = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise LostDevice(f"no worker process can be started: {said}") from error

    def _started(self) -> tuple[Any, Any, str]:
        from pebble import ProcessPool

        self._pools += 1
        stack = os.path.join(self._stacks.name, str(self._pools))  # noqa: PTH118
        pool = ProcessPool(max_workers=1, context=self._context)
        return pool, pool.schedule(start, args=(os.getpid(), stack), timeout=_START_SECONDS), stack


class _Gone(Exception):
    """A worker has ended, or cannot be reached."""


@contextmanager
def isolated(seconds: float = CASE_SECONDS) -> Iterator[Isolation]:
    """Make ``check`` run targets in a worker within the block."""
    isolation = Isolation(seconds)
    try:
        with ambient.using(isolation=isolation):
            yield isolation
    finally:
        isolation.close()


def isolation_for(target: Target) -> Isolation | None:
    """Return the isolation in force; None where there is none, or where a worker cannot import the target."""
    isolation: Isolation | None = ambient.current().isolation
    if target.is_declaration:
        return isolation
    try:
        return isolation if isolation is not None and load_target(target.name) == target else None
    except BadTarget:
        return None


def confirmed(failure: Failure, fails: Callable[[Case], Failure | None], target: Target) -> Failure:
    """Return the failure of the case in a new process, or Unreproducible. ``fails`` runs a case under the isolation."""
    isolation = isolation_for(target)
    if isolation is None:
        return failure
    for _ in range(CONFIRMATIONS):
        with isolation.confirming():
            again = fails(failure.case)
        if again is not None and again.bucket == failure.bucket:
            return again
    finding = f"{failure.kind}, {failure.finding}; but in none of {CONFIRMATIONS} processes that saw no other case"
    return unreproducible(failure, finding)


def _end(pool: Any, worker: int | None) -> None:
    """End a pool, its worker, and the processes that the worker has started."""
    pool.stop()
    pool.join()
    if worker is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(worker, signal.SIGKILL)


def _end_in_words(status: int) -> str:
    return f"ended its process with {signal.Signals(-status).name}" if status < 0 else f"ended its process with exit status {status}"
