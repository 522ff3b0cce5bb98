"""What all cases share: the closed choices of their fields, a repr without defaults, JSON, and the checks."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from typing import Any, ClassVar

from moefuzz.kernels.kernel_config import KernelConfig, shown

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
LARGEST, LARGEST_SEED = 2**31 - 1, 2**63 - 1


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

    def _typed(self) -> None:
        """Raise ValueError for a field that is not of its type; rows and sizes are what 32 bits with a sign can count."""
        kind: Any = type(self)
        for name, (what, is_one) in _types_of(kind).items():
            if not is_one(getattr(self, name)):
                raise ValueError(f"{name} must be {what}, got {shown(getattr(self, name))}")
        rows = getattr(self, self.rows_of)
        if not rows or min(rows) < 0:
            raise ValueError(f"{self.rows_of} must name at least one expert and no negative size, got {shown(rows)}")
        if sum(rows) > LARGEST:
            raise ValueError(f"{self.rows_of} must sum to at most {LARGEST}, got {shown(rows)}")

    def _choose(self, **choices: tuple[str, ...]) -> None:
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {shown(getattr(self, name))}")

    def _at_least(self, smallest: int, *names: str) -> None:
        for name in names:
            value, largest = getattr(self, name), LARGEST_SEED if name == "seed" else LARGEST
            if not smallest <= value <= largest:
                raise ValueError(
                    f"{name} must be {f'at least {smallest}' if value < smallest else f'at most {largest}'}, got {shown(value)}"
                )


_TYPES: dict[str, tuple[str, Callable[[object], bool]]] = {
    "int": ("a whole number", lambda value: type(value) is int),
    "bool": ("True or False", lambda value: type(value) is bool),
    "str": ("a text", lambda value: type(value) is str),
    "tuple[int, ...]": ("a tuple of whole numbers", lambda value: type(value) is tuple and all(type(number) is int for number in value)),
    "KernelConfig | None": ("a KernelConfig or None", lambda value: value is None or type(value) is KernelConfig),
}
"""By the type of a field: what it must be in words, and whether a value is that; a bool is no whole number."""


@functools.cache
def _types_of(kind: Any) -> dict[str, tuple[str, Callable[[object], bool]]]:
    return {field.name: _TYPES[str(field.type)] for field in dataclasses.fields(kind)}


def round_up(n: int, block: int) -> int:
    """The next multiple of ``block``."""
    return -(-n // block) * block
