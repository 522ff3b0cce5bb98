"""The entry point of the command: how a process ends, whatever happens in it."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from typing import NoReturn

from .base.exception_text import text_of
from .base.exit_codes import BROKEN_PIPE, INTERNAL, INTERRUPTED
from .base.signals import listen, was_told


def main() -> NoReturn:
    """Run ``moefuzz``. Exit codes: see the README.

    An interrupt during the imports ends it without a traceback. An error of moefuzz itself prints one, and has an exit code of its own.
    """
    listen()  # SIGTERM is as Ctrl-C: what was found is said
    _end(_status())


def _status() -> int:
    try:
        from .cli.commands import app

        app()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # nothing reads any more: of a pager that was closed, or of head
            return BROKEN_PIPE
        return end.code if isinstance(end.code, int) else 0 if end.code is None else INTERNAL
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if was_told():  # an interrupt that an import made another exception of
            return INTERRUPTED
        traceback.print_exc()
        said = f"{type(error).__name__}: {text_of(error)}"
        sys.stderr.write(f"moefuzz: an error of moefuzz itself, not of a target: {said}\n")
        return INTERNAL
    return 0


def _end(status: int) -> NoReturn:
    """End the process, and with it threads that a target's module started and that would keep it."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        status = status or BROKEN_PIPE
    if status == BROKEN_PIPE:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python says at its end that it could not write
    left = [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]
    if left:
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    main()
