"""A small watcher process beside pytest: it prints which case ran when the process of pytest ended unexpectedly.

It waits for the end of a pipe, which comes however the process of pytest ends. Then it looks for the journal, which a process that ends in
order has removed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_SCRIPT = r"""
import json, shlex, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.stdin.buffer.read()
try:
    with open(sys.argv[1], "rb") as journal:
        said = json.loads(journal.readline())
except (OSError, ValueError):
    sys.exit()
lines = ["", f"moefuzz: this process of pytest ended while {said['target']} ran", f"    case      {said['repr']}"]
if said["named"]:
    lines += [
        f"    replay    moefuzz replay --target {shlex.quote(said['target'])} \"{said['repr']}\"",
        "    with pytest --moe-isolate it is a failure like any other, which is minimised and reported",
    ]
else:
    lines += [f"    {said['target']!r} is no name, such as pkg.mod:attr; with one, pytest --moe-isolate makes it a failure like any other"]
sys.stderr.write("\n".join(lines) + "\n")
"""


def start(journal: Path, stderr: int) -> Callable[[], None]:
    """Start the watcher, which writes to the descriptor ``stderr``; return what ends it, to be called once the journal is removed."""
    command = [sys.executable, "-I", "-S", "-c", _SCRIPT, str(journal)]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=stderr)  # noqa: S603 - a script of our own

    def end() -> None:
        assert watcher.stdin is not None
        watcher.stdin.close()
        watcher.wait()

    return end
