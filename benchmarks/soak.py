"""Test a long run on ten planted faults while its processes are killed at random: each must be found, with one report, and nothing lost.

    python benchmarks/soak.py [--minutes 6] [--kills 20] [--workers 2] [--gpus all] [--redis] [--whole] [--run FOLDER] [--seed 0]

It kills workers, the processes in which cases run, the supervisor, and all processes, and restarts the run in its folder if needed.
With ``--redis`` examples are shared through a Redis server (Debian: redis-server), which is also killed, and restarted after a while. It
ends when all ten are reported and all kills are done, or when the time is up; with ``--whole`` only then. It prints for each fault the time
to its report and its smallest case. Exit code 1: a fault was not found, or found twice, a report has no fault or several, or a page or an
event is broken.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from moefuzz.harness.base.device import describe, versions
from moefuzz.harness.campaign.run_folder import RunFolder
from moefuzz.harness.levels.cases import GroupedGemmCase
from moefuzz.harness.planted.ten_faults import FAULTS, planted
from moefuzz.harness.report.folder import Report, read_all

TARGET = "moefuzz.harness.planted.ten_faults:ten_faults"
KINDS = ("worker", "case", "supervisor", "tree")


class Redis:
    """A Redis server in a folder, on its own port."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])
        self.folder, self.url = folder, f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        command = ["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--dir", str(self.folder), "--appendonly", "yes"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603
        time.sleep(2)

    def kill(self) -> bool:
        """Kill the server, and restart it after some time."""
        self.process.kill()
        self.process.wait()
        time.sleep(5)
        self.start()
        return True


class Run:
    """The command under test, which is restarted when it was killed."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.options = folder, options
        self.redis = Redis(folder.parent) if options.redis else None
        self.stop = time.monotonic() + 60 * options.minutes
        self.process = self.started()

    def started(self) -> subprocess.Popen[bytes]:
        """Start the command for the remaining time, and return its process."""
        seconds = max(1.0, self.stop - time.monotonic())
        command = [sys.executable, "-m", "moefuzz.harness", "fuzz", "-t", TARGET, "--run", str(self.folder), "--time", f"{seconds:.0f}s"]
        command += ["--case-time", "10s", "--workers", str(self.options.workers)]
        command += ["--gpus", self.options.gpus] if self.options.gpus else ["--sanitize"]
        command += ["--share", self.redis.url] if self.redis else []
        with (self.folder.parent / "screen.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)  # noqa: S603

    def kill(self, kind: str, chance: random.Random) -> bool:
        """Kill a process of this kind; return whether there was one."""
        if kind == "redis":
            return self.redis is not None and self.redis.kill()
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(self.process.pid)
            workers = root.children()
            below = [child for worker in workers for child in worker.children(recursive=True)]
            if kind in ("worker", "case"):
                among = workers if kind == "worker" else below
                if among:
                    chance.choice(among).kill()
                return bool(among)
            for one in [root] if kind == "supervisor" else [root, *workers, *below]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            self.process.wait()
            for one in workers:  # workers end by themselves without their supervisor
                with contextlib.suppress(psutil.Error):
                    one.wait(30)
            self.process = self.started()
            return True
        return False


def reports_of(folder: Path) -> dict[str, list[tuple[float, Report]]]:
    """Return by fault its reports, each with its time; under "unclear" those that show no fault, or several of their kind."""
    found: dict[str, list[tuple[float, Report]]] = {}
    for report in read_all(folder / "reports"):
        page = folder / "reports" / (report.id if isinstance(report, Report) else "") / "report.md"
        if isinstance(report, Report) and isinstance(report.case, GroupedGemmCase) and page.exists():
            said, made = report.title, page.stat().st_mtime
            faults = [fault for fault in planted(report.case) if any(said.startswith(kind) for kind in FAULTS[fault][0].split("|"))]
            found.setdefault(faults[0] if len(faults) == 1 else "unclear", []).append((made, report))
    return found


def events_of(folder: Path) -> tuple[list[dict[str, Any]], int]:
    """Return all events, and the number of lines that are no events."""
    events, broken = [], 0
    for file in (folder / "events").glob("*.ndjson"):
        for line in file.read_text().splitlines():
            try:
                events.append(json.loads(line))
            except ValueError:
                broken += 1
    return events, broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--gpus")
    parser.add_argument("--redis", action="store_true", help="share examples through a Redis server, and kill that too")
    parser.add_argument("--whole", action="store_true", help="go on until the time is up")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = options.run or Path(tempfile.mkdtemp(prefix="moefuzz-soak-")) / "run"
    if folder.exists():
        parser.error(f"{folder}: is there already")
    folder.mkdir(parents=True)
    kinds = (*KINDS, "redis") if options.redis else KINDS
    say = lambda text: print(text, flush=True)  # noqa: T201
    say(f"{describe()}: {versions()}\n{folder}")
    chance, killed = random.Random(options.seed), Counter[str]()  # noqa: S311
    run, began = Run(folder, options), time.time()
    every = 60 * options.minutes / (options.kills + 2) if options.kills else float("inf")
    following = time.monotonic() + every
    while run.process.poll() is None:
        time.sleep(1)
        if killed.total() < options.kills and time.monotonic() > following:
            kind = kinds[killed.total() % len(kinds)]
            killed[kind] += run.kill(kind, chance)
            following = time.monotonic() + chance.uniform(0.5, 1.5) * every
        is_done = killed.total() >= options.kills and set(FAULTS) <= set(reports_of(folder))
        if is_done and not options.whole and all(one.outcome for one in RunFolder(folder).found()):
            run.process.send_signal(signal.SIGINT)
            break
    run.process.wait(120)
    if run.redis:
        run.redis.process.terminate()
    found = reports_of(folder)
    say("\n| fault | reported after, s | failure | smallest case |\n|---|---:|---|---|")
    for name in (*FAULTS, *sorted(set(found) - set(FAULTS))):
        for made, report in sorted(found.get(name, []), key=lambda item: item[0]) or [(0.0, None)]:
            if report is None:
                say(f"| {name} | **not found** | | |")
            else:
                words = report.title
                say(f"| {name} | {made - began:.0f} | {words} | `{report.case!r}` |")
    events, broken = events_of(folder)
    examples = sum(event.get("examples", 0) for event in events if event["kind"] == "turn")
    deaths = sum(event["kind"] == "died" for event in events)
    page = folder / "summary.html"
    whole = page.exists() and page.read_text().rstrip().endswith("</html>")
    once = all(len(found.get(name, [])) == 1 for name in FAULTS) and set(found) <= set(FAULTS)
    say(f"\n{sum(name in found for name in FAULTS)} of {len(FAULTS)} faults found, each with one report: {'yes' if once else 'no'}")
    say(f"killed: {dict(killed)}; workers that died: {deaths}; broken lines: {broken}; summary whole: {'yes' if whole else 'no'}")
    say(f"{examples} examples in {time.time() - began:.0f} s; the command ended with {run.process.returncode}")
    return 0 if once and whole and set(FAULTS) <= set(found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
