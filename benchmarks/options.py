"""Types of the benchmarks' options, so that what cannot be measured is refused in one line and before anything is."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from moefuzz.harness.target_names import load_target
from moefuzz.harness.targets import BadTarget, Target


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def duration(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text}")
    return number


def output_file(text: str) -> Path:
    """A file that can be written when all is measured."""
    file = Path(text)
    if file.is_dir() or not file.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{file} is a folder" if file.is_dir() else f"there is no folder {file.parent}")
    return file


def picture(text: str) -> Path:
    file = output_file(text)
    if file.suffix not in {".png", ".svg", ".pdf"}:
        raise argparse.ArgumentTypeError(f"must end in .png, .svg or .pdf, got {file.name}")
    return file


def target_of(*levels: str) -> Callable[[str], str]:
    """The name of a target that is there, of one of ``levels``, if any are given."""

    def checked(text: str) -> str:
        loaded = load(text)
        if levels and loaded.level not in levels:
            raise argparse.ArgumentTypeError(f"{text} is a target of the {loaded.level} level, and not of {' or '.join(levels)}")
        return text

    return checked


def load(text: str) -> Target:
    try:
        return load_target(text)
    except BadTarget as error:
        raise argparse.ArgumentTypeError(str(error)) from None
