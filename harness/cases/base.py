"""What all cases share: the closed choices of their fields, a repr without defaults, JSON, and the checks."""

from __future__ import annotations

import dataclasses
import json
from typing import ClassVar

FORMAT_VERSION = 1

DTYPES = ("float32", "bfloat16", "float16")
PERMUTES = ("none", "x", "y")
ORDERS = ("sorted", "reversed", "shuffled")
LAYOUTS = ("contiguous", "transposed", "padded")
FAR_AXES = {"far": 0, "far rows": -2, "far columns": -1}  # the axis along which the last entry begins beyond 2**31 elements
FAR_LAYOUTS = (*LAYOUTS, *FAR_AXES)
DY_LAYOUTS = (*LAYOUTS, "expanded")
FAR_DY_LAYOUTS = (*DY_LAYOUTS, *FAR_AXES)
GRADS = ("XW", "X", "W", "")
RECIPES = ("integers", "signs", "normal", "wide", "cancelling", "zeros", "positive")
BLOCK_RECIPES = RECIPES[:-1]  # through a block, sums of one sign overflow float16
RELATIONS = (
    "repeated", "other shapes between", "experts permuted", "rows permuted", "empty expert inserted", "expert split", "rows in two calls",
    "row copied", "N padded", "K padded", "scaled", "foreign rows NaN", "foreign weights NaN", "other tiles", "strides dropped",
    "fewer gradients", "gradients accumulated", "autocast", "other stream", "graph replayed",
)  # fmt: skip
BLOCK_RELATIONS = (
    "repeated", "other shapes between", "foreign weights NaN", "foreign gradients NaN", "batch reshaped", "experts frozen",
    "gradients accumulated", "other stream",
)  # fmt: skip
EXPERTS_RELATIONS = (
    "repeated", "other shapes between", "tokens permuted", "foreign weights NaN", "foreign tokens NaN", "foreign gradients NaN",
    "fewer gradients", "gradients accumulated", "other stream",
)  # fmt: skip
EXPERTS_GRADS = ("all", "frozen experts", "experts alone", "none")
ACTS = ("silu", "relu")
LOGIT_SIGNS = ("mixed", "negative")


class BaseCase:
    """Shared by all cases: a repr without the fields that have their default, JSON, and the check of closed choices."""

    level: ClassVar[str]  # of the targets that a case is for
    rows_of: ClassVar[str]  # the field that says how many rows each expert has

    def __repr__(self) -> str:
        fields = [field for field in dataclasses.fields(self) if getattr(self, field.name) != field.default]  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(f'{field.name}={getattr(self, field.name)!r}' for field in fields)})"

    def to_json(self) -> str:
        """One line of JSON, with the kind of case and the format version."""
        return json.dumps({"format": FORMAT_VERSION, "kind": type(self).__name__, **dataclasses.asdict(self)})  # type: ignore[call-overload]

    def _whole_numbers(self, rows: str) -> None:
        for name in (rows, *(field.name for field in dataclasses.fields(self) if field.type == "int")):  # type: ignore[arg-type]
            value = getattr(self, name)
            numbers = value if name == rows and isinstance(value, tuple) else (value,)
            if (name == rows and not isinstance(value, tuple)) or not all(type(number) is int for number in numbers):
                raise ValueError(f"{name} must be {'a tuple of whole numbers' if name == rows else 'a whole number'}, got {value!r}")

    def _choose(self, **choices: tuple[str, ...]) -> None:
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")

    def _at_least(self, smallest: int, *names: str) -> None:
        for name in names:
            if getattr(self, name) < smallest:
                raise ValueError(f"{name} must be at least {smallest}, got {getattr(self, name)}")


def round_up(n: int, block: int) -> int:
    """The next multiple of ``block``."""
    return -(-n // block) * block
