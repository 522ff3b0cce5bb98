"""Cases: plain data that determines an outcome completely, with ``eval(repr(case)) == case`` and JSON both ways.

Each level has a frozen dataclass that inherits from ``Case``. It tells the stages which of its fields are sizes, which are cut into tiles,
which are chosen from a closed list, what further features a case has, and what makes it simpler.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from moefuzz.kernels.kernel_config import KernelConfig, shown

FORMAT_VERSION = 1

DTYPES = ("float32", "bfloat16", "float16")
LAYOUTS = ("contiguous", "transposed", "padded")
FAR_AXES = {"far": 0, "far rows": -2, "far columns": -1}  # the axis along which the last entry begins beyond 2**31 elements
FAR_LAYOUTS = (*LAYOUTS, *FAR_AXES)
DY_LAYOUTS = (*LAYOUTS, "expanded")
FAR_DY_LAYOUTS = (*DY_LAYOUTS, *FAR_AXES)
RECIPES = ("integers", "signs", "normal", "wide", "cancelling", "zeros", "positive")
PERMUTES = ("none", "x", "y")
ACTS = ("silu", "relu")
LARGEST, LARGEST_SEED = 2**31 - 1, 2**63 - 1


class Case:
    """Base class of all cases: the interface for the stages, a repr without fields at their default, JSON, and checks of fields.

    Every case has the fields ``dtype``, ``seed`` and ``relation``, with defaults. ``relation`` names the relation for which a second call
    is compared with the first; empty means no second call.
    """

    level: ClassVar[str]
    """The level of the targets that run the case."""

    rows_of: ClassVar[str] = ""
    """The field with the rows of each expert; empty where no expert owns rows."""

    sizes: ClassVar[Mapping[str, int]] = {}
    """The sizes and the smallest value of each, in the order in which they are made smaller."""

    tiles: ClassVar[Mapping[str, str]] = {}
    """The sizes that are cut into tiles, each with the field of a KernelConfig that holds its tile size."""

    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """The fields with a closed list of values, and these values, the simplest first."""

    explained: ClassVar[tuple[str, ...]] = ()
    """The fields for which a report says whether they matter; sizes that are cut into tiles are explained too."""

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    dtype: str
    seed: int
    relation: str
    data: str = ""
    topk: int = 1

    @property
    def rows(self) -> tuple[int, ...]:
        """The rows of each expert."""
        rows: tuple[int, ...] = getattr(self, self.rows_of) if self.rows_of else ()
        return rows

    @property
    def elements(self) -> int:
        """The number of elements of all inputs and outputs together, an estimate of the memory that a case needs."""
        return 0

    @property
    def is_far(self) -> bool:
        """Whether a tensor spans gigabytes because of its strides."""
        return False

    @property
    def guarded(self) -> str:
        """How the inputs are guarded while a target runs, as words."""
        return ""

    def features(self) -> Iterator[str]:
        """Yield features of the case beyond those that ``features.py`` derives from its sizes, rows and choices."""
        yield from ()

    def simpler(self) -> Iterator[dict[str, Any]]:
        """Yield changes of fields that make the case simpler, beyond those of one size, load or choice."""
        yield from ()

    def neighbours(self) -> Iterator[dict[str, Any]]:
        """Yield changes of fields with which a report finds what a failure needs, beyond those of one size, load or choice."""
        yield from ()

    def can_be_put_to(self, target: Any) -> bool:  # noqa: ARG002
        """Return whether the target can be called with the case, for instance has its keywords."""
        return True

    def limits_of(self, target: Any) -> Mapping[str, object]:  # noqa: ARG002
        """Return, by reason, whether the case lies outside the declaration of a target for that reason; dtypes are left out."""
        return {}

    def expert_of(self, shape: tuple[int, ...], element: tuple[int, ...]) -> tuple[int, int] | None:
        """Return the expert, and the row within it, of an element of an argument of a shape; None where the shape does not tell.

        The expert is E for a row that no expert owns, and the row -1 for an element of an expert as a whole.
        """
        return (element[0], -1) if len(shape) == 3 and shape[0] == len(self.rows) else None

    def __repr__(self) -> str:
        fields = [field for field in dataclasses.fields(self) if getattr(self, field.name) != field.default]
        return f"{type(self).__name__}({', '.join(f'{field.name}={getattr(self, field.name)!r}' for field in fields)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002 - of IPython's protocol, which Hypothesis prints by
        printer.text(repr(self))

    def to_json(self) -> str:
        """Return one line of JSON, with the kind of case and the format version."""
        return json.dumps({"format": FORMAT_VERSION, "kind": type(self).__name__, **dataclasses.asdict(self)})

    def _typed(self) -> None:
        """Raise ValueError for a field that is not of its type; rows and sizes must fit into signed 32-bit integers."""
        kind: Any = type(self)
        for name, (what, is_one) in _types_of(kind).items():
            if not is_one(getattr(self, name)):
                raise ValueError(f"{name} must be {what}, got {shown(getattr(self, name))}")
        if not self.rows_of:
            return
        rows = self.rows
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
"""By the type of a field: its description, and a function that returns whether a value has it; a bool is no whole number."""


@functools.cache
def _types_of(kind: Any) -> dict[str, tuple[str, Callable[[object], bool]]]:
    names = {
        field.name: field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
        for field in dataclasses.fields(kind)
    }
    return {field: _TYPES.get(name, ("a value", lambda _: True)) for field, name in names.items()}


def round_up(n: int, block: int) -> int:
    """Return the smallest multiple of ``block`` that is at least ``n``."""
    return -(-n // block) * block
