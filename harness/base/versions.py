"""The versions on which an outcome depends, read from metadata, since torch takes seconds to import."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("torch", "triton", "transformers", "hypothesis", "numpy", "moefuzz")


@cache
def versions() -> str:
    """Return the versions of Python and of the packages, in one line."""
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in _PACKAGES)])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
