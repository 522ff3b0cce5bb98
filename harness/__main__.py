"""The entry point of the command; an interrupt while torch and Triton are imported ends it without a traceback."""

from __future__ import annotations

import sys


def main() -> None:
    """Run ``moefuzz``. Exit codes: see the README."""
    try:
        from .cli import app

        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
