"""The entry point of the command; an interrupt while torch and Triton are imported ends it without a traceback."""

from __future__ import annotations

import sys

from .exit_codes import INTERRUPTED
from .signals import listen


def main() -> None:
    """Run ``moefuzz``. Exit codes: see the README."""
    listen()  # SIGTERM is as Ctrl-C: what was found is said
    try:
        from .cli import app

        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
