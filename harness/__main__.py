"""The entry point of the command; an interrupt while torch and Triton are imported ends it without a traceback."""

from __future__ import annotations

import sys

from .exit_codes import INTERRUPTED


def main() -> None:
    """Run ``moefuzz``. Exit codes: see the README."""
    try:
        from .cli import app

        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
