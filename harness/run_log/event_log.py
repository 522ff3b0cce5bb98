"""Write the events of one process of a long run; ``events.py`` reads them."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class EventLog:
    """Appends a process's events to its file in a run's folder; an event that a full disk refuses is written with the next one."""

    def __init__(self, run: Path, worker: str, file: str = "") -> None:
        self.file, self.worker = run / "events" / f"{file or worker}.ndjson", worker
        self._waiting: list[bytes] = []
        with contextlib.suppress(OSError):
            if self.file.exists() and self.file.read_bytes()[-1:] != b"\n":
                self._waiting.append(b"\n")  # ends a line that was cut off

    def say(self, kind: str, said: Mapping[str, Any]) -> None:
        """Append an event, completely or not at all."""
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
