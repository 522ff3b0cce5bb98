"""Where targets run: on the GPU if there is one, else on the CPU under Triton's interpreter."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from moefuzz.kernels import interpreter


def device() -> torch.device:
    """The device of every tensor that a target gets."""
    return torch.device("cpu" if interpreter.in_force() else "cuda")


def describe() -> str:
    """The device in words.

    >>> describe()
    "CPU, Triton's interpreter"
    """
    return torch.cuda.get_device_name() if device().type == "cuda" else "CPU, Triton's interpreter"


def versions() -> str:
    """The versions that decide an outcome, in one line."""
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in _PACKAGES)])


_PACKAGES = ("torch", "triton", "transformers", "hypothesis", "numpy", "moefuzz")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
