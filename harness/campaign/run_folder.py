"""The folder of a run, which its processes share and which outlives them: what was found, what was explained, what was running.

    run.json                what was asked for, and when it was started
    events/WORKER.ndjson    what each process says, a line each
    running/WORKER.json     the case that it runs, written ahead, and its turn so far
    found/KEY.json          a failure to be reduced, or what came of it; KEY.lock is held by who reduces it
    reports/ID/             finished reports

A file is written under another name first and then renamed, or created by one process alone, so that a run that is killed leaves whole
files behind. KEY is made of a failure's bucket and a number: there is one candidate of a bucket at a time.
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
"""So many reports of a bucket, and failures in it are only counted: where data decide, no region is exact."""

MOST_CANDIDATES = 20
"""So many candidates of a bucket, whatever came of them."""

MOST_TRIES = 3
"""So many processes that died while they reduced a failure, and it is reported as it was found."""

EXPLAIN = ("report", "known")
"""The outcomes whose regions are passed by."""

_TICK = 100_000_000
"""Nanoseconds in which a folder may change twice and show one time."""


class Taken(Exception):
    """A run's folder in which another command works."""


class RunFolder:
    """A run's folder. Whatever a full disk refuses is said once and not lost: events wait in memory for room."""

    def __init__(self, path: Path, reports: Path | None = None) -> None:
        self.path = path
        self.reports = reports or path / "reports"
        self._known: tuple[int, list[Found], dict[Path, str]] = (-1, [], {})
        for name in ("events", "running", "found", "reports"):
            (path / name).mkdir(parents=True, exist_ok=True)

    def started(self, asked: dict[str, Any]) -> bool:
        """Write what is asked for, beside when it was started; whether there was an earlier start. Raises BadRun and OSError."""
        file = self.path / "run.json"
        before = list_of(said_of(self.path).get("starts")) if file.exists() else []
        _replace(file, json.dumps({"format": 1, **asked, "starts": [*before, time.time()]}, indent=1) + "\n")
        return bool(before)

    def found(self) -> list[Found]:
        """All that was found up to now; read again only when the folder has changed."""
        folder = self.path / "found"
        changed = folder.stat().st_mtime_ns
        if changed != self._known[0]:
            read = {file: _found(file) for file in sorted(folder.glob("*.json"))}
            found = [one for one in read.values() if isinstance(one, Found)]
            unreadable = {file: one for file, one in read.items() if isinstance(one, str)}
            self._known = changed if time.time_ns() - changed > _TICK else -1, found, unreadable
        return self._known[1]

    def unreadable(self) -> list[str]:
        """A line for each file among the findings that holds none, with the reason; such a file is left as it is."""
        self.found()
        return [f"{file}: {why}" for file, why in self._known[2].items()]

    def of_bucket(self, bucket: Bucket) -> list[Found]:
        return [one for one in self.found() if one.bucket == bucket]

    def regions(self, bucket: Bucket) -> list[Region]:
        """Those of the bucket's reports."""
        return [one.region for one in self.of_bucket(bucket) if one.outcome in EXPLAIN]

    def offer(self, failure: Failure, target: str, regime: str, choices: bytes = b"") -> Found | None:
        """Put a failure down to be reduced, unless its bucket has a candidate already, or enough reports.

        Raises LostDevice where the folder takes no file any more.
        """
        others = self.of_bucket(failure.bucket)
        ended = Counter(one.outcome for one in others)
        if ended[""] or ended["report"] >= MOST_OF_A_BUCKET or len(others) >= MOST_CANDIDATES:
            return None
        digest = hashlib.sha256(json.dumps(failure.bucket).encode()).hexdigest()[:12]
        taken = sum(file.name.startswith(f"{digest}-") for file in self._known[2])  # by files that cannot be read
        key = f"{digest}-{len(others) + taken}"
        found = Found(key, failure.bucket, target, regime, failure.case, failure.finding, choices, failure.origin)
        beside = _beside(self._file(key))
        try:
            beside.write_text(found.to_json(), encoding="utf-8")
            os.link(beside, self._file(key))  # whole, and by one process alone
        except FileExistsError:
            return None
        except OSError as error:  # nobody would hear of it
            raise self._full(error) from None
        finally:
            beside.unlink(missing_ok=True)
        return found

    def know(self, report: Report, region: Region) -> None:
        """Take what a report of an earlier run explains for known."""
        key = f"known-{report.id}"
        found = Found(key, report.bucket, report.target, "", report.case, report.finding, outcome="known", report=report.id, region=region)
        _replace(self._file(key), found.to_json())

    def waits_for(self, targets: Container[str]) -> bool:
        """Return whether a failure of these targets is still to be reduced."""
        return any(not one.outcome and one.target in targets for one in self.found())

    @contextmanager
    def taken(self, targets: Container[str]) -> Iterator[Found | None]:
        """A failure of these targets that nobody reduces yet, and the lock on it as long as this lasts."""
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
        """Write down what is known of a failure by now. On a full disk it is reduced again, and ``surely`` raises LostDevice."""
        try:
            _replace(self._file(found.key), found.to_json())
        except OSError as error:
            if surely:
                raise self._full(error) from None

    @contextmanager
    def alone(self, host: str) -> Iterator[None]:
        """While it lasts, no other command of a host works in the folder. Raises Taken."""
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
    """The finding of a file, or why it holds none; None where the file is gone."""
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
