"""One call of a target in guarded and poisoned memory; the same at every level."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures.thread import _threads_queues
from contextlib import nullcontext
from typing import TypeVar

import torch

from moefuzz.harness.base.case import Case
from moefuzz.harness.base.device import float32_reductions
from moefuzz.harness.base.exception_text import text_of
from moefuzz.harness.base.resources import NoRoom, is_beyond_reason, lack_of_memory
from moefuzz.harness.base.signals import is_ours
from moefuzz.harness.failures import INPUT_MODIFIED, ThreadLeft, WroteOutside, failure_from_exception, said_by
from moefuzz.harness.targets import NeedsGpu, Target

from .allocations import Allocations
from .arena import Arena

Result = TypeVar("Result")
_THREAD_SECONDS = 1.0


def guarded_call(
    run: Callable[[], Result], case: Case, target: Target, device: torch.device, *, poison: str, arena: Arena | None = None
) -> Result:
    """Call ``run`` and return its result. Its allocations are guarded and start with ``poison``; the inputs in ``arena`` are guarded too.

    Raises the failures Raised, WroteOutside, ReadOutside, InputModified and ThreadLeft; NoRoom for lack of memory, and NeedsGpu.
    """
    __tracebackhide__ = True
    allocations = Allocations(device, poison)
    if arena is not None:
        allocations.read_guards.append(arena.read_guard())
    threads = threading.enumerate()
    reductions = float32_reductions() if target.float32_reductions else nullcontext()
    try:
        with reductions, warnings.catch_warnings(action="ignore"), allocations:  # a warning is no failure, even where it would raise
            result = run()
    except BaseException as error:
        if is_ours(error):
            raise
        if (lack := lack_of_memory(error)) and not is_beyond_reason(lack, 8 * case.elements):
            raise NoRoom(lack) from error
        if device.type == "cpu" and (lack := _lack_of_gpu(error)):
            raise NeedsGpu(f"target {target.name!r} needs a CUDA GPU, and there is none: {lack}; {_ON_A_CPU}") from error
        failure = failure_from_exception(case, target.name, error)
        if "does not require grad and does not have a grad_fn" in text_of(error):
            failure.finding += "; a target with a forward pass alone declares it: Target(..., backward=False)"
        raise failure from error
    for name, byte in arena.changes() if arena is not None else ():
        if name is None:
            assert arena is not None
            raise WroteOutside(case, target.name, f"wrote outside: {arena.place_of(byte)}")
        raise INPUT_MODIFIED[name](case, target.name, f"changed its input {name} at byte {byte}")
    allocations.raise_if_overrun(case, target.name)
    if left := _left_behind(threads):
        raise ThreadLeft(
            case,
            target.name,
            f"left the thread {left.name!r} running, which is no daemon: the caller's process does not end before it does",
        )
    return result


def _left_behind(before: Sequence[threading.Thread]) -> threading.Thread | None:
    """Return a thread started since then that would keep the process alive; those of an executor end with the process."""
    for thread in threading.enumerate():
        if thread not in before and not thread.daemon and thread not in _threads_queues:
            thread.join(_THREAD_SECONDS)  # it may end in a moment
            if thread.is_alive():
                return thread
    return None


_ON_A_CPU = "on a CPU a launcher takes the device of its inputs, and asks neither torch.cuda nor Triton's driver"
_NO_GPU = ("active drivers", "Torch not compiled with CUDA", "Found no NVIDIA driver", "No CUDA GPUs are available")


def _lack_of_gpu(error: BaseException) -> str:
    """Return the text and place of an exception about a missing GPU; empty for any other exception."""
    return said_by(error) if any(said in text_of(error) for said in _NO_GPU) else ""
