"""Where a worker was when its process ended: a file to which Python's faulthandler writes, and what its parent reads there.

A signal leaves the stack of its thread, ``os._exit`` its call, and a case that takes too long the stacks of all threads shortly before it
is given up. What ends a process in another way, as ``exit`` in C, leaves nothing.
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

EXITED = 254
"""The exit status of a worker whose target called ``os._exit``; multiprocessing takes a 0 for a worker that has nothing to do."""

_CALLERS = tuple(
    str(Path(__file__).parents[1] / name)
    for name in ("base", "execution", "levels", "sanitizer", "verdict", "targets/__init__.py", "targets/registry.py")
)
"""The files of ours that stand between a worker and its target."""

_CALL = tuple(
    str(Path(__file__).parents[1] / name) for name in ("execution/guarded_call.py", "targets/registry.py", "verdict/isolation_worker.py")
)
"""The files of ours that call what a target is made of."""

_PASSED_BY = ("site-packages", f"{os.sep}lib{os.sep}python", "<frozen", "<string>", *_CALLERS)
_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+),? in (?P<name>.*)$', re.MULTILINE)
_EARLIER = 0.9  # of a case's time: then the stacks are written
_MOST_CHARACTERS = 10_000

_file: IO[str] | None = None


@dataclass(frozen=True)
class CrashStack:
    """What was written; ``place`` is the innermost frame that is neither a library's nor moefuzz's, as " at file.py:7 in f" or empty."""

    text: str = ""
    place: str = ""

    def ending(self, end: str) -> str:
        """How the process ended: ``end``, or by a call of ``os._exit``; and where.

        >>> CrashStack("os._exit(0)", ", at mine.py:7 in f").ending("ended its process with exit status 254")
        'ended its process by os._exit(0), at mine.py:7 in f'
        """
        call = self.text.partition("\n")[0]
        return (f"ended its process by {call}" if call.startswith("os._exit(") else end) + self.place


def record(path: str) -> None:
    """In a worker: write to this file from now on."""
    global _file
    _file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process lives
    faulthandler.enable(_file, all_threads=False)


@contextmanager
def watched(seconds: float) -> Iterator[None]:
    """In a worker: around a case that may take so many seconds."""
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
    """In the parent: what a worker left."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")[:_MOST_CHARACTERS]
    except OSError:
        return CrashStack()
    frames = [frame for frame in _FRAME.finditer(text) if not any(part in frame["file"] for part in _PASSED_BY)]
    place = f", at {Path(frames[0]['file']).name}:{frames[0]['line']} in {frames[0]['name']}" if frames else ""
    return CrashStack("\n\n".join(filter(None, map(_of_the_target, text.split("\n\n")))), place)


def _of_the_target(stack: str) -> str:
    """The stack of a thread up to the frames of moefuzz, which called the target; empty where a thread is moefuzz's own."""
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
