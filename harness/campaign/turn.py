"""A turn of exploring: its length, its counts, and the choice of the regime that takes the next one."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from moefuzz.harness.base.case import Case

FIRST_TURN, LONGEST_TURN, TURN_SECONDS = 25, 1000, 10.0
"""Examples of a regime's first turn (doubled from turn to turn), of its longest turn, and the seconds after which a turn ends."""

_EVERYBODYS = 0.2
"""The share of turns that is divided equally among all regimes, however little is new in them."""


@dataclass
class Turn:
    """The counts of one turn of a regime, or of several together."""

    target: str
    level: str
    regime: str
    seconds: float = 0.0
    examples: int = 0
    failing: int = 0
    passed_by: int = 0  # skipped or failing, and explained by a finding already
    known: int = 0  # failed as a known issue says
    refused: int = 0  # outside the declaration, and refused by the target
    no_room: int = 0  # skipped, since their inputs did not fit on the device
    fresh: int = 0  # labels and pairs of labels covered for the first time
    found: int = 0  # failures queued for reduction
    compiles: int = 0
    shares: dict[str, float] = field(default_factory=dict)  # by tensor, the largest error as a share of its bound
    covered: dict[str, Counter[str]] = field(default_factory=dict)
    slowest: list[tuple[float, str]] = field(default_factory=list)
    interesting: list[Any] = field(default_factory=list)  # cases that covered a new label, as JSON

    def add(self, other: Turn) -> None:
        """Add the counts of another turn of the same regime."""
        for name in ("seconds", "examples", "failing", "passed_by", "known", "refused", "no_room", "fresh", "found", "compiles"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for tensor, share in other.shares.items():
            self.shares[tensor] = max(share, self.shares.get(tensor, 0.0))

    def said(self) -> dict[str, Any]:
        """Return the counts as the fields of an event."""
        return dict(vars(self))

    def note(self, said: Sequence[tuple[str, str]], case: Case, seconds: float) -> None:
        for name, label in said:
            self.covered.setdefault(name, Counter())[label] += 1
        if len(self.slowest) < 3 or seconds > self.slowest[-1][0]:
            self.slowest = sorted([*self.slowest, (round(seconds, 4), repr(case))], reverse=True)[:3]


class TakesTurns(Protocol):
    """What ``choose_next`` chooses from."""

    turns: int
    priority: float


Turning = TypeVar("Turning", bound=TakesTurns)


def choose_next(lines: Sequence[Turning], chance: random.Random) -> Turning:
    """Return the one that takes the next turn: each once, then at random by priority, with an equal share of turns for all."""
    fewest = min(line.turns for line in lines)
    if fewest == 0 or chance.random() < _EVERYBODYS:
        return next(line for line in lines if line.turns == fewest)
    return chance.choices(lines, [line.priority + 1e-9 for line in lines])[0]
