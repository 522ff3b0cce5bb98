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


@dataclass(frozen=True)
class LeftOver:
    """A case that was running when its process ended, and the name of its target."""

    file: Path
    case: Case
    target: str

    def done(self) -> None:
        """Forget it: it has been run again."""
        self.file.unlink(missing_ok=True)


class _File:
    """The file of this process, made when there is something to write; without a place for it nothing is written."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._descriptor = -1

    def write(self, line: bytes) -> None:
        try:
            if self._path is None:
                self._path = _folder() / f"{uuid.uuid4().hex}.json"
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            if self._descriptor >= 0:
                os.pwrite(self._descriptor, line, 0)  # the line before may be longer: what follows the first end of line is no matter
        except OSError:  # a full disk, or none, is no reason to stop
            return

    def close(self) -> None:
        if self._path is not None and self._descriptor >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)


_ahead: list[_File] = []


@contextmanager
def written_ahead() -> Iterator[None]:
    """While it lasts, every case that ``check`` runs is written before."""
    file = _File()
    _ahead.append(file)
    try:
        yield
    finally:
        _ahead.remove(file)
        file.close()


def now_running(case: Case, target: str) -> None:
    """Write a case ahead, if that is asked for."""
    if _ahead:
        _ahead[-1].write(f'{{"target": {json.dumps(target)}, "case": {case.to_json()}}}\n'.encode())


def left_over(targets: Iterable[str]) -> list[LeftOver]:
    """The cases of these targets that earlier processes left behind; files that cannot be read are passed by."""
    names, found = set(targets), []
    for file in sorted(_folder().glob("*.json")):
        try:
            with file.open("rb") as opened:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                said = json.loads(opened.readline())
            if said["target"] in names:
                found.append(LeftOver(file, case_from_json(json.dumps(said["case"])), said["target"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
    return found


def _folder() -> Path:
    path: Path = storage_directory("moefuzz", "running", intent_to_write=False).path
    return path
