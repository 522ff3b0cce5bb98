"""Run work that may crash or hang in a separate process; it sends notes during its work, of which the last say where it stopped."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

SECONDS_A_NOTE = 120.0  # a longer time without a note counts as a hang

Send = Callable[[tuple[Any, ...]], None]


def isolated(work: Callable[..., None], *arguments: Any, seconds_a_note: float = SECONDS_A_NOTE) -> tuple[list[tuple[Any, ...]], str]:
    """Call ``work(*arguments, send)`` in a new process; return the notes that it sent, and how it ended: "", "Crash" or "Hang"."""
    ours, theirs = context().Pipe(duplex=False)
    process = context().Process(target=_run, args=(work, arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    notes: list[tuple[Any, ...]] = []
    try:
        while ours.poll(seconds_a_note):
            note = ours.recv()
            if note is None:
                return notes, ""
            notes.append(note)
    except EOFError:
        return notes, "Crash"
    else:
        return notes, "Hang"
    finally:
        process.kill()
        process.join()


def context() -> Any:
    """Return the context for new processes: a fork server that has all imports, and has looked for a GPU in a way that permits forks."""
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["moefuzz.strategies.regimes", "moefuzz.harness.verdict.check"])
    return server


def _run(work: Callable[..., None], arguments: tuple[Any, ...], pipe: Connection) -> None:
    work(*arguments, pipe.send)
    pipe.send(None)
