"""The workers of a run as actors of Ray, on the cluster that Ray finds, or else on this host alone.

Each actor runs one worker as a child process, as ``supervisor.py`` does. Ray gives it a GPU if the cluster has any, and restarts an actor
that failed, on another host if need be. The run's folder must be on a file system that all hosts share.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from moefuzz.harness.base.exit_codes import INFRASTRUCTURE, INTERRUPTED
from moefuzz.harness.run_log.event_log import EventLog

from .restart_policy import Next, RestartPolicy, is_death
from .run_folder import RunFolder

_SOON = 20.0
"""A worker that ran for at least so many seconds counts as having made progress."""

_LOOK_SECONDS, _ENDING_SECONDS, _PLACING_SECONDS = 0.5, 30.0, 120.0
_RESTART_SECONDS = 3.0


class NoCluster(Exception):
    """Raised if Ray is not installed or places no worker; the text is one line."""


class Keeper:
    """The actor: it runs one worker as a child process, which ends with the actor."""

    def __init__(self, folder: str, name: str) -> None:
        self.folder, self.name = Path(folder), name
        self.process: subprocess.Popen[bytes] | None = None

    def place(self) -> str:
        """Set up the actor where Ray placed it; return an error text if the run's folder is not visible there, else ""."""
        if not (self.folder / "run.json").exists():
            return f"no {self.folder} on {os.uname().nodename}: the run's folder must lie where every host sees it"
        return ""

    def keep(self, seconds: float) -> int:
        """Run the worker to its end; return its exit status."""
        command = [sys.executable, "-m", "moefuzz.harness.campaign.worker", str(self.folder), self.name, str(seconds)]
        with (self.folder / "events" / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self.process.wait()

    def end(self) -> None:
        """Ask the worker to end, so that it can log its last turn."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)


def connect() -> Any:
    """Return the ray module, connected to the cluster of RAY_ADDRESS or to a new one on this host. Raises NoCluster."""
    try:
        import ray
    except ImportError:
        raise NoCluster("the package ray is not installed: pip install 'moefuzz[ray]'") from None
    try:
        if not ray.is_initialized():
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, OSError, ValueError, RuntimeError) as error:
        raise NoCluster(f"no cluster: {error}".partition("\n")[0]) from None
    return ray


class Cluster:
    """Keeps actors running, as ``Supervisor`` does its workers. ``workers`` counts those of each GPU, or all if there is no GPU."""

    def __init__(self, ray: Any, run: RunFolder, workers: int | None, seconds: float, targets: Sequence[str]) -> None:
        self.ray, self.run, self.targets, self.why = ray, run, targets, ""
        self.until = time.monotonic() + seconds
        self.events = EventLog(run.path, "supervisor", "supervisor-cluster")
        has = ray.cluster_resources()
        gpus = int(has.get("GPU", 0))
        each = {"num_gpus": 1 / (workers or 1)} if gpus else {"num_cpus": 1}
        count = gpus * (workers or 1) if gpus else workers or max(1, int(has.get("CPU", 1)))
        self._actor = ray.remote(max_restarts=-1, max_concurrency=2, **({"num_cpus": 0} | each))(Keeper)
        self.names = [f"ray-{i}" for i in range(count)]
        self._actors: dict[str, Any] = {}
        self._running: dict[Any, str] = {}
        self._began: dict[str, float] = {}
        self._policies = {name: RestartPolicy() for name in self.names}

    def watch(self, look: Callable[[], None], enough: Callable[[], bool] = lambda: False) -> int:
        """Start the actors and watch them, calling ``look`` twice a second; return an exit code, which does not depend on failures.

        The run ends early once ``enough`` returns True.
        """
        why, status = "time is up", 0
        try:
            self._place()
            while self._running:
                done, _ = self.ray.wait(list(self._running), timeout=_LOOK_SECONDS)
                for reference in done:
                    self._ended(self._running.pop(reference), reference)
                look()
                if enough():
                    why = "as many failures as were asked for"
                    break
            if all(policy.retired for policy in self._policies.values()):
                why, status = "no worker is left", INFRASTRUCTURE
        except KeyboardInterrupt:
            why, status = "interrupted", INTERRUPTED
        except NoCluster as error:
            why, status = str(error), INFRASTRUCTURE
            self.events.say("out", {"of": self.names[0], "why": why})
        finally:
            self._end()
            look()
            self.why = why
            self.events.say("ended", {"why": why})
        return status

    def _place(self) -> None:
        for name in self.names:
            self._actors[name] = self._actor.remote(str(self.run.path.absolute()), name)
        said = {name: actor.place.remote() for name, actor in self._actors.items()}
        done, waiting = self.ray.wait(list(said.values()), num_returns=len(said), timeout=_PLACING_SECONDS)
        if not done:
            raise NoCluster("Ray has placed no worker")
        if lost := next(filter(None, self.ray.get(done)), ""):
            raise NoCluster(lost)
        for name, reference in said.items():
            if reference not in waiting:
                self._start(name)

    def _start(self, name: str) -> None:
        self._began[name] = time.monotonic()
        self._running[self._actors[name].keep.remote(max(0.0, self.until - time.monotonic()))] = name

    def _ended(self, name: str, reference: Any) -> None:
        try:
            status = self.ray.get(reference)
        except self.ray.exceptions.RayError:  # the actor failed; Ray restarts it
            if time.monotonic() < self._began[name] + _RESTART_SECONDS:  # Ray is still restarting it
                time.sleep(_LOOK_SECONDS)
                self._start(name)
                return
            status = -signal.SIGKILL
        time_left, lasted = time.monotonic() < self.until, time.monotonic() >= self._began[name] + _SOON
        policy = self._policies[name]
        follows = policy.ended(status, lasted, time_left=time_left, work_left=self.run.waits_for(self.targets))
        if is_death(status, time_left=time_left):
            self.events.say("died", {"of": name, "status": int(status), "restarts": policy.deaths})
        if follows is Next.RETIRE:
            self.events.say("out", {"of": name, "why": f"ended {policy.deaths} times, the last time with status {status}"})
        elif follows is Next.RESTART:
            self._start(name)

    def _end(self) -> None:
        """Ask the workers that still run to end, then remove the actors."""
        ending = [self._actors[name].end.remote() for name in self._running.values()]
        if ending:
            with contextlib.suppress(self.ray.exceptions.RayError):
                self.ray.wait([*ending, *self._running], num_returns=2 * len(ending), timeout=_ENDING_SECONDS)
        for actor in self._actors.values():
            self.ray.kill(actor)
