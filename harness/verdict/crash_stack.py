"""The stack of a worker whose process ended: Python's faulthandler writes it to a file, and the parent process reads it there.

A signal leaves the stack of its thread. ``os._exit`` leaves the stack of its call. A case that takes too long leaves the stacks of all
threads, shortly before its time is up. Whatever ends a process in another way, as ``exit`` in C does, leaves nothing.
"""

from __future__ import annotations

import faulthandler
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from moefuzz.kernels import kernel_config

EXITED = 254
"""The exit status of a worker whose target called ``os._exit``; pebble would take a 0 for a worker that has nothing to do."""

_CALLERS = (
    *(
        str(Path(__file__).parents[1] / name)
        for name in ("base", "execution", "levels", "sanitizer", "verdict", "targets/__init__.py", "targets/registry.py")
    ),
    str(Path(kernel_config.__file__).with_name("triton_interpreter")),
)
"""The files of moefuzz that stand between a worker and its target in a stack."""

_CALL = tuple(
    str(Path(__file__).parents[1] / name) for name in ("execution/guarded_call.py", "targets/registry.py", "verdict/isolation_worker.py")
)
"""The files of moefuzz that call or import a target."""

_PASSED_BY = ("site-packages", f"{os.sep}lib{os.sep}python", "<frozen", "<string>", *_CALLERS)
_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+),? in (?P<name>.*)$', re.MULTILINE)
_EARLIER = 0.9  # the share of a case's time after which the stacks are written
_MOST_CHARACTERS = 10_000

_file: IO[str] | None = None


@dataclass(frozen=True)
class CrashStack:
    """The text of the file; ``place`` is the innermost frame outside libraries and moefuzz, as ", at file.py:7 in f", or empty."""

    text: str = ""
    place: str = ""

    def ending(self, end: str) -> str:
        """Return how the process ended (``end``, or by a call of ``os._exit``), and where.

        >>> CrashStack("os._exit(0)", ", at mine.py:7 in f").ending("ended its process with exit status 254")
        'ended its process by os._exit(0), at mine.py:7 in f'
        """
        call = self.text.partition("\n")[0]
        return (f"ended its process by {call}" if call.startswith("os._exit(") else end) + self.place


def record(path: str) -> None:
    """Make faulthandler write the stacks of this worker to a file from now on."""
    global _file
    _file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process lives
    faulthandler.enable(_file, all_threads=False)


@contextmanager
def watched(seconds: float) -> Iterator[None]:
    """Empty the file before a case in this worker, and write the stacks shortly before its ``seconds`` are up."""
    if _file is None:
        yield
        return
    os.ftruncate(_file.fileno(), 0)
    _file.seek(0)
    faulthandler.dump_traceback_later(_EARLIER * seconds, file=_file)
    original, os._exit = os._exit, _exit
    try:
        yield
    finally:
        os._exit = original
        faulthandler.cancel_dump_traceback_later()


def read(path: str) -> CrashStack:
    """Return, in the parent, what a worker wrote; an empty CrashStack where the file cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")[:_MOST_CHARACTERS]
    except OSError:
        return CrashStack()
    frames = [frame for frame in _FRAME.finditer(text) if not any(part in frame["file"] for part in _PASSED_BY)]
    place = f", at {Path(frames[0]['file']).name}:{frames[0]['line']} in {frames[0]['name']}" if frames else ""
    return CrashStack("\n\n".join(filter(None, map(_of_the_target, text.split("\n\n")))), place)


def _of_the_target(stack: str) -> str:
    """Return the stack of a thread up to the frames of moefuzz that called the target; empty for a thread of moefuzz itself."""
    lines = stack.splitlines()
    calls = [i for i, line in enumerate(lines) if any(file in line for file in _CALL)]
    end = calls[0] if calls else len(lines)
    return "" if end == 1 and not stack.startswith("os._exit(") else "\n".join(lines[:end])


_exit_now = os._exit


def _exit(status: int) -> NoReturn:
    assert _file is not None
    frames = traceback.extract_stack(sys._getframe(1))
    lines = [f'  File "{frame.filename}", line {frame.lineno} in {frame.name}' for frame in reversed(frames)]
    _file.write("\n".join([f"os._exit({status!r})", *lines]))
    _file.flush()
    _exit_now(EXITED)
