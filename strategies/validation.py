"""Checks of strategy arguments, which raise as those of Hypothesis do."""

from __future__ import annotations

from hypothesis.errors import InvalidArgument


def check_range(low_name: str, low: int, high_name: str, high: int) -> None:
    """Raise InvalidArgument with both values if the range is empty."""
    if low > high:
        raise InvalidArgument(f"{low_name}={low} is larger than {high_name}={high}")
