"""The case that is running, written ahead: a run that is killed loses no more than that, and the next one begins with it.

Each process that draws cases keeps one small file below Hypothesis' home, and a lock on it. A file without a lock was left behind. What is
in it is a case, so nothing of it is executed.
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hypothesis.configuration import storage_directory

from .cases import Case, case_from_json

_open: list[int] = []  # file descriptors


@dataclass(frozen=True)
class LeftOver:
    """A case that was running when its process ended, and the name of its target."""

    file: Path
    case: Case
    target: str

    def done(self) -> None:
        """Forget it: it has been run again."""
        self.file.unlink(missing_ok=True)


@contextmanager
def written_ahead() -> Iterator[None]:
    """While it lasts, every case that ``check`` runs is written before. Without a place to write to, nothing is."""
    try:
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{uuid.uuid4().hex}.json"
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except OSError:
        yield
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    _open.append(descriptor)
    try:
        yield
    finally:
        _open.remove(descriptor)
        path.unlink(missing_ok=True)
        os.close(descriptor)


def now_running(case: Case, target: str) -> None:
    """Write a case ahead, if that is asked for."""
    if _open:
        line = json.dumps({"target": target, "case": json.loads(case.to_json())}).encode() + b"\n"
        try:
            os.pwrite(_open[-1], line, 0)  # the line before may be longer: what follows the first end of line is no matter
        except OSError:  # a full disk is no reason to stop
            return


def left_over(targets: Iterable[str]) -> list[LeftOver]:
    """The cases of these targets that earlier processes left behind; files that cannot be read are passed by."""
    names, found = set(targets), []
    for file in sorted(_folder().glob("*.json")):
        try:
            with file.open("rb") as opened:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                said = json.loads(opened.readline())
            left = LeftOver(file, case_from_json(json.dumps(said["case"])), said["target"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if left.target in names:
            found.append(left)
    return found


def _folder() -> Path:
    path: Path = storage_directory("moefuzz", "running", intent_to_write=False).path
    return path
