"""The outcome of a run of ``moefuzz fuzz`` as plain data, from which every output format is made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReportedFailure:
    """A distinct failure of a run, on its smallest case."""

    target: str
    level: str
    regime: str  # the regime that found it first
    kind: str  # as a report prints it: "WrongValue", "Raised ValueError"
    tensor: str | None
    finding: str  # one line
    case: str  # its repr
    text: str  # the whole text, to be pasted into an issue
    replay: str  # the command that runs the case again
    report: str = ""  # the folder of its report; empty if none was written
    examples: int = 0  # number of examples of the run before it was found
    seconds: float = 0.0  # from the start of the run until it was found
    minimised: bool = True  # False if the run ended first


@dataclass(frozen=True)
class RegimeCount:
    """The counts of a regime of a target."""

    target: str
    level: str
    regime: str
    examples: int = 0
    failing: int = 0
    known: int = 0  # failed as a known issue says
    refused: int = 0  # outside the declaration, refused with an exception
    no_room: int = 0  # skipped, since the inputs did not fit in memory
    seconds: float = 0.0
    share: float = 0.0  # the largest error as a share of its bound
    share_tensor: str = ""


@dataclass(frozen=True)
class RunOutcome:
    """The outcome of a run of ``moefuzz fuzz``."""

    targets: tuple[str, ...]
    device: str
    versions: str
    seed: int
    seconds: float
    status: int  # the exit code: see ``exit_codes.py``
    regimes: tuple[RegimeCount, ...] = ()
    failures: tuple[ReportedFailure, ...] = ()
    unreached: tuple[tuple[str, str], ...] = ()  # (target, regime) for which there was no time
    notes: tuple[str, ...] = ()  # one-line remarks: known issues without a case, why it stopped, failures without a report

    @property
    def examples(self) -> int:
        """The number of cases that were run."""
        return sum(regime.examples for regime in self.regimes)
