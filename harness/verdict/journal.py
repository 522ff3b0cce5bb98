"""A journal of the running case, written before it runs: a run that is killed loses that case alone, and the next run begins with it.

Each process that draws cases keeps one small file below Hypothesis' home, or in the folder of a run, and holds a lock on it. A file without
a lock was left by a process that ended. A file holds a case as data; nothing in it is executed.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moefuzz.harness.base import ambient, pytest_process
from moefuzz.harness.base.case import Case
from moefuzz.harness.base.case_text import case_from_json
from moefuzz.harness.base.hypothesis_internals import home_folder
from moefuzz.harness.targets.registry import has_a_name

from . import last_words


@dataclass(frozen=True)
class InterruptedCase:
    """A case that ran when its process ended, and the name of its target."""

    file: Path
    case: Case
    target: str
    said: dict[str, Any]  # all that its process wrote

    def done(self) -> None:
        """Remove the file, once the case has been run again."""
        self.file.unlink(missing_ok=True)


class _File:
    """The file of this process, created at the first write; nothing is written where it cannot be created."""

    def __init__(self, folder: Path | None, also: Callable[[], dict[str, Any]]) -> None:
        self.path, self.also = (folder or _home()).absolute() / f"{uuid.uuid4().hex}.json", also
        self._descriptor: int | None = None

    def write(self, line: bytes) -> None:
        try:
            if self._descriptor is None:
                self._descriptor = -1
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            if self._descriptor >= 0:
                os.pwrite(self._descriptor, line, 0)  # the last line may have been longer: readers stop at the first end of line
        except OSError:  # a disk that is full or missing does not stop a run
            return

    def close(self) -> None:
        if self._descriptor is not None and self._descriptor >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self._descriptor)


_has_a_name = functools.cache(has_a_name)


@contextmanager
def written_ahead(folder: Path | None = None, also: Callable[[], dict[str, Any]] = dict) -> Iterator[None]:
    """Make ``check`` write each case, and what ``also`` returns, to the journal before it runs, within the block."""
    file = _File(folder, also)
    try:
        with ambient.using(journal=file):
            yield
    finally:
        file.close()


def write_ahead(case: Case, target: str) -> None:
    """Write a case to the journal, if one is in force; under pytest to a file that a watcher process reads when this process ends."""
    file: _File | None = ambient.current().journal or _of_pytest()
    if file is not None:
        said = {"target": target, "repr": repr(case), "named": _has_a_name(target), **file.also()}
        file.write(f'{json.dumps(said)[:-1]}, "case": {case.to_json()}}}\n'.encode())


def _of_pytest() -> _File | None:
    """Return the file of a process of pytest, created for its first case and removed when it ends; None in any other process."""
    if pytest_process.stderr >= 0 and pytest_process.journal is None:
        file = _File(None, dict)
        pytest_process.until_it_ends.callback(last_words.start(file.path, pytest_process.stderr))  # ended last, once the file is removed
        pytest_process.until_it_ends.callback(file.close)
        pytest_process.journal = file
    found: _File | None = pytest_process.journal
    return found


def interrupted_cases(targets: Iterable[str], folder: Path | None = None) -> list[InterruptedCase]:
    """Return the cases of these targets that earlier processes left behind; files that cannot be read are skipped."""
    names, found = set(targets), []
    for file in sorted((folder or _home()).glob("*.json")):
        try:
            with file.open("rb") as opened:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                said = json.loads(opened.readline())
            if said["target"] in names:
                found.append(InterruptedCase(file, case_from_json(json.dumps(said["case"])), said["target"], said))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
    return found


def _home() -> Path:
    return home_folder("moefuzz", "running")
