"""The folder of a run, which its processes share and which stays after they end.

    run.json                the settings of the run, and when it was started
    events/WORKER.ndjson    the event log of each process, one line an event
    running/WORKER.json     the case that a process runs, written before it starts, and its turn so far
    found/KEY.json          a failure to be reduced, or its outcome; the process that reduces it holds a lock on KEY.lock
    reports/ID/             finished reports

A file is written under another name and then renamed, or created by one process alone, so that a run that is killed leaves only complete
files. KEY is made of a failure's bucket and a number; a bucket has one candidate at a time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moefuzz.harness.base.resources import LostDevice
from moefuzz.harness.failures import Bucket, Failure
from moefuzz.harness.reduction.explain import Region
from moefuzz.harness.report.folder import Report
from moefuzz.harness.run_log.events import list_of, said_of

from .found import Found

MOST_OF_A_BUCKET = 5
"""After so many reports of a bucket, its failures are only counted: where the data decide, no region is exact."""

MOST_CANDIDATES = 20
"""The largest number of candidates of a bucket, whatever their outcome."""

MOST_TRIES = 3
"""After more than so many processes ended while they reduced a failure, it is reported as it was found."""

EXPLAIN = ("report", "known")
"""The outcomes whose regions explain further failures."""

_TICK = 100_000_000
"""Nanoseconds within which a folder can change twice and show the same time of change."""


class Taken(Exception):
    """Raised if another command uses the run's folder."""


class RunFolder:
    """A run's folder. On a full disk a warning is printed once and nothing is lost: events wait in memory."""

    def __init__(self, path: Path, reports: Path | None = None) -> None:
        self.path = path
        self.reports = reports or path / "reports"
        self._known: tuple[int, list[Found], dict[Path, str]] = (-1, [], {})
        for name in ("events", "running", "found", "reports"):
            (path / name).mkdir(parents=True, exist_ok=True)

    def started(self, asked: dict[str, Any]) -> bool:
        """Write the settings and the time of this start; return whether there was an earlier start. Raises BadRun and OSError."""
        file = self.path / "run.json"
        before = list_of(said_of(self.path).get("starts")) if file.exists() else []
        _replace(file, json.dumps({"format": 1, **asked, "starts": [*before, time.time()]}, indent=1) + "\n")
        return bool(before)

    def found(self) -> list[Found]:
        """Return all findings so far; files are read again only when the folder has changed."""
        folder = self.path / "found"
        changed = folder.stat().st_mtime_ns
        if changed != self._known[0]:
            read = {file: _found(file) for file in sorted(folder.glob("*.json"))}
            found = [one for one in read.values() if isinstance(one, Found)]
            unreadable = {file: one for file, one in read.items() if isinstance(one, str)}
            self._known = changed if time.time_ns() - changed > _TICK else -1, found, unreadable
        return self._known[1]

    def unreadable(self) -> list[str]:
        """Return a line for each file that should hold a finding and does not, with the reason; such a file is left unchanged."""
        self.found()
        return [f"{file}: {why}" for file, why in self._known[2].items()]

    def of_bucket(self, bucket: Bucket) -> list[Found]:
        return [one for one in self.found() if one.bucket == bucket]

    def regions(self, bucket: Bucket) -> list[Region]:
        """Return the regions of the bucket's reports."""
        return [one.region for one in self.of_bucket(bucket) if one.outcome in EXPLAIN]

    def offer(self, failure: Failure, target: str, regime: str, choices: bytes = b"") -> Found | None:
        """Queue a failure for reduction and return it; return None if its bucket has a candidate already, or enough reports.

        Raises LostDevice if the file cannot be written.
        """
        others = self.of_bucket(failure.bucket)
        ended = Counter(one.outcome for one in others)
        if ended[""] or ended["report"] >= MOST_OF_A_BUCKET or len(others) >= MOST_CANDIDATES:
            return None
        digest = hashlib.sha256(json.dumps(failure.bucket).encode()).hexdigest()[:12]
        taken = sum(file.name.startswith(f"{digest}-") for file in self._known[2])  # numbers that unreadable files hold
        key = f"{digest}-{len(others) + taken}"
        found = Found(key, failure.bucket, target, regime, failure.case, failure.finding, choices, failure.origin)
        beside = _beside(self._file(key))
        try:
            beside.write_text(found.to_json(), encoding="utf-8")
            os.link(beside, self._file(key))  # atomic: the file is complete, and one process alone creates it
        except FileExistsError:
            return None
        except OSError as error:  # else the failure would be lost silently
            raise self._full(error) from None
        finally:
            beside.unlink(missing_ok=True)
        return found

    def know(self, report: Report, region: Region) -> None:
        """Record the region of an earlier run's report as known."""
        key = f"known-{report.id}"
        found = Found(key, report.bucket, report.target, "", report.case, report.finding, outcome="known", report=report.id, region=region)
        _replace(self._file(key), found.to_json())

    def waits_for(self, targets: Container[str]) -> bool:
        """Return whether a failure of these targets still waits for reduction."""
        return any(not one.outcome and one.target in targets for one in self.found())

    @contextmanager
    def taken(self, targets: Container[str]) -> Iterator[Found | None]:
        """Lock a failure of these targets that no process reduces yet, and yield it; yield None if there is none."""
        for one in self.found():
            if not one.outcome and one.target in targets:
                with self._file(one.key).with_suffix(".lock").open("w") as lock:
                    try:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except OSError:
                        continue
                    now = _found(self._file(one.key))
                    if isinstance(now, Found) and not now.outcome:
                        now.tries += 1
                        self.keep(now)
                        yield now
                        return
        yield None

    def keep(self, found: Found, *, surely: bool = False) -> None:
        """Save a finding. On a full disk it is not saved, and is reduced again later; with ``surely``, raises LostDevice instead."""
        try:
            _replace(self._file(found.key), found.to_json())
        except OSError as error:
            if surely:
                raise self._full(error) from None

    @contextmanager
    def alone(self, host: str) -> Iterator[None]:
        """Keep other commands of this host out of the folder. Raises Taken if one is in it."""
        with (self.path / f"{host}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Taken(f"another command of {host} works in it") from None
            yield

    def _full(self, error: OSError) -> LostDevice:
        return LostDevice(f"{self.path} cannot be written to any more: {error.strerror}")

    def _file(self, key: str) -> Path:
        return self.path / "found" / f"{key}.json"


def _found(file: Path) -> Found | str | None:
    """Return the finding of a file, or why it holds none, or None if the file is gone."""
    try:
        found = Found.from_json(file.read_text(encoding="utf-8"))
        return found if found.key == file.stem else f"it holds the finding {found.key[:100]!r}"
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return " ".join(str(error).split())[:200]


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.{os.getpid()}.new")


def _replace(file: Path, text: str) -> None:
    beside = _beside(file)
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
