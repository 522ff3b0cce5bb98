"""Merge the run folders of several hosts into one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .events import FORMAT_VERSION, BadRun, Event, event_files, events_in, list_of, running_in, said_of, starts_of


def merge(runs: Sequence[Path], into: Path) -> Path:
    """Write the events, reports and ``run.json`` of several runs into a folder, without duplicates; return it. Raises BadRun or OSError.

    A run may be given twice, or as an older copy. Different workers with the same name are renamed.
    """
    said = [said_of(run) for run in runs]
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise BadRun(f"{into} exists already and is not empty")
    (into / "events").mkdir(parents=True, exist_ok=True)
    workers = _Workers(into)
    for run in runs:
        workers.add(run)
        _copy_reports(run, into)
    (into / "run.json").write_text(json.dumps(_together(said), indent=1) + "\n", encoding="utf-8")
    return into


class _Workers:
    """The workers of all runs. A worker is identified by its first event, since its file is only appended to."""

    def __init__(self, into: Path) -> None:
        self._into = into
        self._file_of: dict[bytes, str] = {}  # file name by the first event of a worker
        self._seen: dict[str, set[bytes]] = {}  # the events in each file

    def add(self, run: Path) -> None:
        files = {file: self._place(file) for file in event_files(run)}
        renamed = {file.stem: place for file, place in files.items() if file.stem != place}
        for file, place in files.items():
            seen = self._seen[place]
            with (self._into / "events" / f"{place}.ndjson").open("ab") as out:
                for event in events_in(file):
                    if (event_id := _id_of(event)) not in seen:
                        seen.add(event_id)
                        out.write(_line(event, renamed))
        for worker, running in running_in(run).items():
            (self._into / "running").mkdir(exist_ok=True)
            turn = running["turn"]
            path = self._into / "running" / f"{Path(renamed.get(worker, worker)).name}.json"
            path.write_bytes(_line(running | {"turn": turn | {"worker": renamed.get(worker, worker)}}, {}))

    def _place(self, file: Path) -> str:
        first = next(events_in(file), None)
        known = _id_of(first) if first is not None else file.name.encode()
        if known not in self._file_of:
            name, number = file.stem, 1
            while name in self._seen:
                number += 1
                name = f"{file.stem}.{number}"
            self._file_of[known] = name
            self._seen[name] = set()
        return self._file_of[known]


def _line(event: Event, renamed: dict[str, str]) -> bytes:
    """Return an event as a line of JSON, with workers renamed. Supervisors share a name, since no event refers to them."""
    names = {
        field: renamed[event[field]]
        for field in ("worker", "of")
        if isinstance(event.get(field), str) and event[field] in renamed and event[field] != "supervisor"
    }
    return json.dumps(event | names).encode() + b"\n"


def _id_of(event: Event) -> bytes:
    """Return a hash of an event that does not depend on the names of workers."""
    rest = {name: value for name, value in event.items() if name not in ("worker", "of")}
    return hashlib.blake2b(json.dumps(rest, sort_keys=True).encode(), digest_size=12).digest()


def _copy_reports(run: Path, into: Path) -> None:
    """Copy the reports that are missing. A report's name is a hash of its failure, so reports of the same name are the same."""
    for report in sorted((run / "reports").glob("*")):
        to = into / "reports" / report.name
        if report.is_dir() and not to.exists():
            half = to.with_name(f".{to.name}.{os.getpid()}")
            shutil.copytree(report, half, symlinks=True)
            half.rename(to)


def _together(said: Sequence[Event]) -> dict[str, Any]:
    hosts: dict[float, tuple[float, ...]] = {}
    for starts in (starts for one in said for starts in starts_of(one)):
        hosts[starts[0]] = max(hosts.get(starts[0], ()), starts, key=len)
    return {
        "format": FORMAT_VERSION,
        "command": _all_said(said, "command"),
        "targets": sorted({target for one in said for target in list_of(one.get("targets")) if isinstance(target, str)}),
        "seconds": max((one["seconds"] for one in said if isinstance(one.get("seconds"), (int, float))), default=0),
        "versions": _all_said(said, "versions"),
        "device": _all_said(said, "device"),
        "starts": sorted(at for starts in hosts.values() for at in starts),
        "merged": [list(starts) for starts in hosts.values()],
        **{field: _union([one[field] for one in said if isinstance(one.get(field), dict)]) for field in ("regimes", "labels")},
    }


def _all_said(said: Sequence[Event], name: str) -> str:
    """Return the different texts of the hosts for this name, joined by semicolons."""
    return "; ".join(dict.fromkeys(one[name] for one in said if isinstance(one.get(name), str) and one[name]))


def _union(named: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for one in named for name in one)
    return {name: list({json.dumps(value): value for one in named for value in list_of(one.get(name))}.values()) for name in names}
