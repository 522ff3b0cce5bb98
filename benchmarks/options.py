"""Types of the benchmarks' options, so that an invalid value is refused in one line before anything is measured."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from moefuzz.harness.base.durations import BadDuration, duration
from moefuzz.harness.targets import BadTarget
from moefuzz.harness.targets.registry import load_target

Value = TypeVar("Value")


def _in_its_words(read: Callable[[str], Value]) -> Callable[[str], Value]:
    """Return ``read`` as an argparse type that shows the message of its error, where argparse would only say "invalid"."""

    def checked(text: str) -> Value:
        try:
            return read(text)
        except (BadDuration, BadTarget) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked


time_span, target = _in_its_words(duration), _in_its_words(load_target)


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def output_file(text: str) -> Path:
    """Return the path of a file that can be written at the end of the measurement."""
    file = Path(text)
    if file.is_dir() or not file.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{file} is a folder" if file.is_dir() else f"there is no folder {file.parent}")
    return file


def picture(text: str) -> Path:
    file = output_file(text)
    if file.suffix not in {".png", ".svg", ".pdf"}:
        raise argparse.ArgumentTypeError(f"must end in .png, .svg or .pdf, got {file.name}")
    return file


def grouped_gemm_name(text: str) -> str:
    """Return the name of a target of the grouped_gemm level, which other processes can load."""
    level = target(text).level
    if level != "grouped_gemm":
        raise argparse.ArgumentTypeError(f"{text} is a target of the {level} level, and not of grouped_gemm")
    return text
