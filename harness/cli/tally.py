"""Counts of a short run so far, and the outcome computed from them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from moefuzz.harness.base.device import describe
from moefuzz.harness.base.exit_codes import FOUND, NOTHING_RAN
from moefuzz.harness.base.versions import versions
from moefuzz.harness.campaign.explore import Regimes
from moefuzz.harness.campaign.reducing import Reduced
from moefuzz.harness.campaign.settings import RunSettings
from moefuzz.harness.campaign.turn import Turn
from moefuzz.harness.failures.text import replay_line
from moefuzz.harness.run_log.outcome import RegimeCount, ReportedFailure, RunOutcome
from moefuzz.harness.targets import Target


class Tally:
    """Counts turns by target and regime, and collects failures and notes."""

    def __init__(self) -> None:
        self.turns: dict[tuple[str, str], Turn] = {}
        self.failures: list[ReportedFailure] = []
        self.notes: list[str] = []
        self.began = time.monotonic()

    @property
    def examples(self) -> int:
        return sum(turn.examples for turn in self.turns.values())

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def count(self, turn: Turn) -> None:
        """Add a turn to the counts of its regime."""
        self.turns.setdefault((turn.target, turn.regime), Turn(turn.target, turn.level, turn.regime)).add(turn)

    def fail(self, step: Reduced, report: str, examples: int, seconds: float) -> None:
        """Add a failure that was found after so many examples and seconds; ``report`` is its folder, or "" if it has none."""
        assert step.failure is not None
        failure = step.failure
        self.failures.append(
            ReportedFailure(
                failure.target, failure.case.level, step.found.regime, str(failure.kind), failure.tensor, failure.finding,
                repr(failure.case), str(failure), replay_line(failure), report, examples, seconds, step.finished,
            )
        )  # fmt: skip

    def outcome(self, asked: RunSettings, status: int, unreached: Sequence[tuple[str, str]], issues: Sequence[str]) -> RunOutcome:
        """Return the outcome of the run; ``issues`` are notes on known issues. Status 0 becomes the exit code for what was found."""
        status = status or (FOUND if self.failures else 0 if self.examples else NOTHING_RAN)
        return RunOutcome(
            asked.targets, describe(), versions(), asked.seed, self.seconds, status, tuple(map(_count, self.turns.values())),
            tuple(self.failures), tuple(unreached), (*self.notes, *issues),
        )  # fmt: skip

    def unreached(self, targets: Sequence[Target], regimes: Regimes) -> tuple[tuple[str, str], ...]:
        """Return the regimes of targets that had no turn, as (target, regime)."""
        drawn = [(one.name, name) for one in targets for name, regime in regimes[one.level].items() if regime(one) is not None]
        return tuple(each for each in drawn if each not in self.turns)


def _count(turn: Turn) -> RegimeCount:
    tensor, share = max(turn.shares.items(), key=lambda item: item[1], default=("", 0.0))
    return RegimeCount(
        turn.target, turn.level, turn.regime, turn.examples, turn.failing, turn.known, turn.refused, turn.no_room, turn.seconds, share,
        tensor,
    )  # fmt: skip
