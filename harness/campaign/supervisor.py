"""Supervise the worker processes of this host, one for each core or GPU: start, restart and end them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from moefuzz.harness.base.exit_codes import INFRASTRUCTURE, INTERRUPTED
from moefuzz.harness.run_log.event_log import EventLog

from . import gpus
from .restart_policy import Next, RestartPolicy, is_death
from .run_folder import RunFolder

_LOOK_SECONDS, _RESOURCE_SECONDS, _ENDING_SECONDS = 0.5, 10.0, 30.0
_ASKING_SECONDS = 5.0
_ENOUGH = "as many failures as were asked for"


@dataclass
class Slot:
    """A worker's name and GPU, its current process, and what is known of the last one."""

    name: str
    gpu: str | None = None
    process: subprocess.Popen[bytes] | None = None
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    said: int = 0  # size of its event log in bytes when the process was started
    status: int = 0  # exit status of the process that ended last
    out: str = ""
    log: Path = field(default_factory=Path)


def slots(workers: int, uuids: Sequence[str]) -> list[Slot]:
    """Return slots for so many workers, or for so many on each GPU."""
    host = socket.gethostname()
    places = [uuid for uuid in uuids for _ in range(workers)] if uuids else [None] * workers
    return [Slot(f"{host}-{i}", gpu) for i, gpu in enumerate(places)]


class Supervisor:
    """Keeps workers running in a run's folder until the time is up and all failures are reduced."""

    def __init__(self, run: RunFolder, places: Sequence[Slot], seconds: float, targets: Sequence[str]) -> None:
        self.run, self.places, self.targets = run, list(places), targets
        self.until = time.monotonic() + seconds
        self.events = EventLog(run.path, "supervisor", f"supervisor-{socket.gethostname()}")
        self._measured, self.why = 0.0, ""

    def watch(self, look: Callable[[], None], enough: Callable[[], bool] = lambda: False) -> int:
        """Start the workers and watch them, calling ``look`` twice a second; return an exit code, which does not depend on failures.

        The run ends early once ``enough`` returns True.
        """
        why, status = "time is up", 0
        try:
            for slot in self.places:
                self._start(slot)
            while self._look_after_all():
                look()
                if enough():
                    why = _ENOUGH
                    break
                time.sleep(_LOOK_SECONDS)
            if why != _ENOUGH and all(slot.out or slot.status == INFRASTRUCTURE for slot in self.places):
                why, status = f"no worker is left: {self.places[0].out or self._last_words(self.places[0])}", INFRASTRUCTURE
        except KeyboardInterrupt:
            why, status = "interrupted", INTERRUPTED
        finally:
            self._end()
            look()
            self.why = why
            self.events.say("ended", {"why": why})
        return status

    def _start(self, slot: Slot) -> None:
        seconds = max(0.0, self.until - time.monotonic())
        environment = os.environ | ({"CUDA_VISIBLE_DEVICES": slot.gpu} if slot.gpu else {})
        slot.said = self._said(slot)
        slot.log = self.run.path / "events" / f"{slot.name}.log"
        command = [sys.executable, "-m", "moefuzz.harness.campaign.worker", str(self.run.path), slot.name, str(seconds)]
        with slot.log.open("ab") as log:
            slot.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _look_after_all(self) -> bool:
        """Restart workers that ended too early; return whether any worker runs."""
        for slot in self.places:
            if slot.process is not None and (status := slot.process.poll()) is not None:
                _end_all(slot.process)
                slot.process = None
                self._ended(slot, status)
        if time.monotonic() > self._measured + _RESOURCE_SECONDS:
            self._measured = time.monotonic()
            self._measure()
        return any(slot.process is not None for slot in self.places)

    def _ended(self, slot: Slot, status: int) -> None:
        time_left, slot.status = time.monotonic() < self.until, status
        follows = slot.policy.ended(status, self._turned(slot), time_left=time_left, work_left=self.run.waits_for(self.targets))
        if is_death(status, time_left=time_left):
            self.events.say("died", {"of": slot.name, "status": status, "restarts": slot.policy.deaths})
        if follows is Next.RETIRE:
            slot.out = self._last_words(slot) or f"ended {slot.policy.barren} times with status {status} and no example in between"
            self.events.say("out", {"of": slot.name, "gpu": slot.gpu, "why": slot.out})
        elif follows is Next.RESTART:
            self._start(slot)

    def _said(self, slot: Slot) -> int:
        file = self.run.path / "events" / f"{slot.name}.ndjson"
        return file.stat().st_size if file.exists() else 0

    def _turned(self, slot: Slot) -> bool:
        """Return whether the process that has just ended finished a turn."""
        file = self.run.path / "events" / f"{slot.name}.ndjson"
        with contextlib.suppress(OSError), file.open("rb") as events:
            events.seek(slot.said)
            return b'"kind": "turn"' in events.read()
        return False

    def _last_words(self, slot: Slot) -> str:
        with contextlib.suppress(OSError):
            lines = slot.log.read_text(errors="replace").strip().splitlines()
            return lines[-1][:300] if lines else ""
        return ""

    def _measure(self) -> None:
        """Log the memory of each worker with its children, and the memory in use on its GPU."""
        used = gpus.memory_used() if any(slot.gpu for slot in self.places) else {}
        for slot in self.places:
            if slot.process is not None:
                with contextlib.suppress(psutil.Error):
                    process = psutil.Process(slot.process.pid)
                    rss = sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
                    self.events.say("resources", {"worker": slot.name, "rss": rss, "device_used": used.get(slot.gpu or "")})

    def _end(self) -> None:
        """Ask the workers that still run to end, then kill those that do not."""
        running = [slot.process for slot in self.places if slot.process is not None]
        stop = time.monotonic() + _ENDING_SECONDS
        while (left := [process for process in running if process.poll() is None]) and time.monotonic() < stop:
            for process in left:  # repeatedly: an exception raised during garbage collection is lost
                process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                left[0].wait(_ASKING_SECONDS)
        for process in running:
            _end_all(process)


def _end_all(worker: subprocess.Popen[bytes]) -> None:
    """Kill all processes of a worker's session, which includes those that its targets started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.pid, signal.SIGKILL)
