"""What one regime of a long run has yielded by now."""

from __future__ import annotations

import operator
from dataclasses import dataclass

from .records import TurnEvent


@dataclass
class Regime:
    """What one regime of one target yielded."""

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
    last_at: float | None = None  # of an example
    share: float = 0.0  # the largest of a bound
    tensor: str = ""  # that needed it

    def add(self, turn: TurnEvent) -> None:
        self.level = turn.level or self.level
        for name in ("examples", "seconds", "failing", "passed_by", "known", "refused", "no_room", "fresh"):
            setattr(self, name, getattr(self, name) + getattr(turn, name))
        if turn.examples:
            self.last_at = max(turn.at, self.last_at or 0.0)
        tensor, share = max(turn.shares.items(), key=operator.itemgetter(1), default=("", 0.0))
        if share > self.share:
            self.tensor, self.share = tensor, share
