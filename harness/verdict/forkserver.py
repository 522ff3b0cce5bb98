"""The forkserver of the workers: a process with torch, Triton and the reference loaded, and without a CUDA context.

It takes seconds to load. A command starts it first, so that both processes load at the same time. This module imports nothing heavy.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import signal
from multiprocessing.context import ForkServerContext

from moefuzz.harness.base.contract import LEVELS

PRELOADED = ["moefuzz.harness.verdict.check", *(f"{package}.level" for package in LEVELS.values())]


def context() -> ForkServerContext:
    """Return the multiprocessing context with which workers are started."""
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # without it the server's look for a GPU makes its children unfit for one
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(PRELOADED)
    return server


def start() -> None:
    """Start the server, unless it runs already; do not wait for it."""
    context()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: only this process handles Ctrl-C, also while the server loads
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)
