"""The process from which workers are forked: it has torch, Triton and the reference loaded, and no CUDA context.

It takes seconds to load. A command starts it first, so that it loads while the command's own process does. Nothing heavy is imported here.
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
    """How workers are started."""
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # without it the server's look for a GPU makes its children unfit for one
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(PRELOADED)
    return server


def start() -> None:
    """Start the server, if there is none, and do not wait for it."""
    context()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: Ctrl-C is this process's, also while the server loads
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)
