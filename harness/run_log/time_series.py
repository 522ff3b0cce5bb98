"""Numbers over the time of a run, kept at the resolution of a plot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

MOST_STEPS = 400


@dataclass
class Series:
    """One value for each step of time; the length of a step doubles when there are too many.

    >>> memory = Series(max)
    >>> for second in range(1_000):
    ...     memory.add(second, second % 7)
    >>> memory.step, memory.points()[:2], len(memory.points())
    (4.0, [(0.0, 3), (4.0, 6)], 250)
    """

    fold: Callable[[float, float], float]  # combines two values in one step: max, or their sum
    step: float = 1.0
    bins: dict[int, float] = field(default_factory=dict)

    def add(self, at: float, value: float) -> None:
        self._put(int(max(at, 0.0) / self.step), value)
        while len(self.bins) > MOST_STEPS:
            narrow, self.bins, self.step = self.bins, {}, self.step * 2
            for step, folded in narrow.items():
                self._put(step // 2, folded)

    def points(self) -> list[tuple[float, float]]:
        """Return the beginning and the value of each step that has one."""
        return [(step * self.step, value) for step, value in sorted(self.bins.items())]

    def total(self) -> list[tuple[float, float]]:
        """Return the end of each step and the sum of values up to it."""
        points, total = [(0.0, 0.0)], 0.0
        for at, value in self.points():
            total += value
            points.append((at + self.step, total))
        return points

    @property
    def largest(self) -> float:
        return max(self.bins.values(), default=0.0)

    def _put(self, step: int, value: float) -> None:
        self.bins[step] = self.fold(self.bins[step], value) if step in self.bins else value
