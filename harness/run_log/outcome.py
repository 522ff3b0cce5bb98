"""What a run of ``moefuzz fuzz`` came to, as plain data: every output format is made from this alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReportedFailure:
    """A distinct failure of a run, on its smallest case."""

    target: str
    level: str
    regime: str  # in which it was found first
    kind: str  # as a report prints it: "WrongValue", "Raised ValueError"
    tensor: str | None
    finding: str  # one line
    case: str  # its repr
    text: str  # the whole text, ready to be pasted
    replay: str  # the command that runs the case again
    report: str = ""  # the folder of its report; empty where none was written
    examples: int = 0  # of the run, before it was found
    seconds: float = 0.0  # from the start of the run until it was found
    minimised: bool = True  # False where the run was ended before


@dataclass(frozen=True)
class RegimeCount:
    """What a regime of a target yielded."""

    target: str
    level: str
    regime: str
    examples: int = 0
    failing: int = 0
    known: int = 0  # failed as a known issue says
    refused: int = 0  # outside the declaration, refused with an exception
    no_room: int = 0  # the machine had no memory for the inputs
    seconds: float = 0.0
    share: float = 0.0  # the largest share of a bound that was used
    share_tensor: str = ""


@dataclass(frozen=True)
class RunOutcome:
    """A run of ``moefuzz fuzz``."""

    targets: tuple[str, ...]
    device: str
    versions: str
    seed: int
    seconds: float
    status: int  # the exit code: see ``exit_codes.py``
    regimes: tuple[RegimeCount, ...] = ()
    failures: tuple[ReportedFailure, ...] = ()
    unreached: tuple[tuple[str, str], ...] = ()  # (target, regime) for which there was no time
    notes: tuple[str, ...] = ()  # one-line remarks: known issues without a case, why it stopped, what came to nothing

    @property
    def examples(self) -> int:
        """Cases that were run."""
        return sum(regime.examples for regime in self.regimes)
