"""The functions that ``isolation`` calls in a worker: get ready, run a case, and check that the device still answers."""

from __future__ import annotations

import os
import threading
import time
import traceback
from typing import TYPE_CHECKING

import torch

from moefuzz.harness.base.ambient import CheckOptions, using_options
from moefuzz.harness.base.case_text import case_from_json
from moefuzz.harness.base.compile_counter import compiled
from moefuzz.harness.base.compile_counter import watch as watch_compiles
from moefuzz.harness.base.exception_text import MOST_CHARACTERS
from moefuzz.harness.base.resources import NoRoom
from moefuzz.harness.base.signals import leave_to_parent
from moefuzz.harness.failures import CudaError, Failure
from moefuzz.harness.targets import Target
from moefuzz.harness.targets.registry import load_target

from . import crash_stack, kernel_coverage
from .checked import packed

if TYPE_CHECKING:
    from .agreement import Agreement

LOOK_SECONDS = 2.0
"""The interval, in seconds, at which one process checks that the other is alive."""

_HELD_BYTES = 1 << 30


def is_alive(process: int) -> bool:
    """Return whether a process of this number exists."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def start(owner: int, stack: str) -> int:
    """Prepare a new worker, and return its process number. It ends when the process ``owner`` does, and writes its stack to a file."""
    from moefuzz.harness.base.device import device, one_thread

    def watch() -> None:
        while is_alive(owner):
            time.sleep(LOOK_SECONDS)
        os._exit(1)

    leave_to_parent()
    os.setpgid(0, 0)  # a process group of its own, which can be ended as a whole
    crash_stack.record(stack)
    threading.Thread(target=watch, daemon=True).start()
    one_thread()
    torch.zeros(1, device=device())
    return os.getpid()


def loaded(spec: str, seconds: float) -> Target:
    """Import a target in the worker, and return its declaration. Raises BadTarget."""
    with crash_stack.watched(seconds):
        return load_target(spec).declaration()


def counted(case: str, spec: str, options: CheckOptions, seconds: float) -> tuple[Agreement | Failure | str, int, kernel_coverage.Covered]:
    """Check a case in the worker; return the outcome, the number of kernels compiled for it, and what they reached, if that is wanted.

    The case is JSON, since the module of the target, which may register the level of the case, has to be imported first.
    """
    watch_compiles()
    process = os.getpid()
    before, reached = compiled(), kernel_coverage.Covered()
    with crash_stack.watched(seconds), using_options(options), kernel_coverage.covering(reached if options.coverage else None):
        said = _said_of(case, spec)
    if os.getpid() != process:  # a child that the target forked, and that returned too
        os._exit(0)
    return said, compiled() - before, reached


def _said_of(text: str, spec: str) -> Agreement | Failure | str:
    """Return, in the worker, an agreement, a failure, or why memory does not suffice."""
    from .judge import check_here

    target = load_target(spec)
    case = case_from_json(text)
    try:
        said: Agreement | Failure | str = check_here(case, target)
    except Failure as failure:
        failure.checked = packed(failure)
        said = failure
        if failure.__cause__ is not None:
            failure.add_note("".join(traceback.format_exception(failure.__cause__))[-MOST_CHARACTERS:])
    except NoRoom as error:
        said = str(error)
    except Exception as error:
        if not (lost := _lost_device()):
            raise
        said = CudaError(case, spec, f"{lost}, seen by {type(error).__name__}")
    if torch.cuda.is_initialized() and torch.cuda.memory_reserved() > _HELD_BYTES:
        torch.cuda.empty_cache()  # other processes use this GPU, and the next case has other sizes
    if lost := _lost_device():
        said = said if isinstance(said, CudaError) else CudaError(case, spec, lost)
    return said


def _lost_device() -> str:
    """Return the error of a device that no longer answers; empty where it does."""
    if not torch.cuda.is_initialized():
        return ""
    try:
        torch.cuda.synchronize()
        answer = torch.ones(1, device="cuda").add_(1).item()
    except Exception as error:
        return str(error).partition("\n")[0]
    return "" if answer == 2 else f"1 + 1 is {answer} on the device"
