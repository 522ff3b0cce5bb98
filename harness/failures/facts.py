"""The facts of a failure other than its kind: where a tensor is wrong, and where the target ran."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mismatch:
    """Where a tensor is wrong. Ranges are inclusive; ``axes`` names the axes of ``worst`` and ``box``."""

    axes: tuple[str, ...]
    worst: tuple[int, ...]
    got: float
    expected: float  # the reference in float64
    low: float  # the least right result, in the tensor's dtype
    high: float  # the greatest
    bound: float  # of the accumulation; 0 where it is exact
    wrong: int  # the number of elements outside their bounds
    total: int
    box: tuple[tuple[int, int], ...]
    tiles: tuple[tuple[int, int] | None, ...]  # the box in tiles of the case's config, None along an axis without tiles


@dataclass(frozen=True)
class Origin:
    """The process that ran a target when it failed."""

    guards: str  # what guarded the memory of the target, as words
    device: str
    versions: str
    has_name: bool  # whether a command finds the target by its name

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Origin:
        """Return the origin that plain data from JSON describes. Raises ValueError and TypeError."""
        origin = cls(**plain)
        if not isinstance(origin.has_name, bool) or not all(
            isinstance(said, str) for said in (origin.guards, origin.device, origin.versions)
        ):
            raise ValueError("an origin is three texts, and whether the target has a name")
        return origin
