"""The state of one regime of a long run."""

from __future__ import annotations

import operator
from dataclasses import dataclass

from .records import TurnEvent


@dataclass
class Regime:
    """The counts of one regime of one target so far."""

    target: str
    name: str
    level: str = ""
    examples: int = 0
    seconds: float = 0.0
    failing: int = 0
    passed_by: int = 0
    known: int = 0
    refused: int = 0
    no_room: int = 0
    fresh: int = 0
    last_at: float | None = None  # time of its last example
    share: float = 0.0  # the largest error as a share of its bound
    tensor: str = ""  # the tensor with that share

    def add(self, turn: TurnEvent) -> None:
        self.level = turn.level or self.level
        for name in ("examples", "seconds", "failing", "passed_by", "known", "refused", "no_room", "fresh"):
            setattr(self, name, getattr(self, name) + getattr(turn, name))
        if turn.examples:
            self.last_at = max(turn.at, self.last_at or 0.0)
        tensor, share = max(turn.shares.items(), key=operator.itemgetter(1), default=("", 0.0))
        if share > self.share:
            self.tensor, self.share = tensor, share
