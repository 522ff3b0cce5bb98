"""The events of one process of a long run, as it writes them; ``events.py`` reads them."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class EventLog:
    """Appends a process's own events to its file in a run's folder; what a full disk refuses waits for the next one."""

    def __init__(self, run: Path, worker: str, file: str = "") -> None:
        self.file, self.worker = run / "events" / f"{file or worker}.ndjson", worker
        self._waiting: list[bytes] = []
        with contextlib.suppress(OSError):
            if self.file.exists() and self.file.read_bytes()[-1:] != b"\n":
                self._waiting.append(b"\n")  # behind a line that was cut off

    def say(self, kind: str, said: Mapping[str, Any]) -> None:
        """Append an event, whole or not at all."""
        event = {"at": time.time(), "worker": self.worker, "kind": kind, **said}
        self._waiting.append(json.dumps(event, default=str).encode() + b"\n")
        with contextlib.suppress(OSError), self.file.open("ab", buffering=0) as file:
            size = file.tell()
            try:
                written = file.write(b"".join(self._waiting))
                if written == sum(map(len, self._waiting)):
                    self._waiting.clear()
                else:
                    os.truncate(self.file, size)
            except OSError:
                os.truncate(self.file, size)
