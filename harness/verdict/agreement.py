"""What ``check`` returns."""

from __future__ import annotations

from dataclasses import dataclass

from moefuzz.harness.base.case import Case


@dataclass(frozen=True)
class Agreement:
    """A case on which a target is right, with the largest used share of the bound of each tensor; or a case that it refused, as it may."""

    case: Case
    shares: dict[str, float]
    refused: str = ""  # outside the declaration: what the target said
    known: str = ""  # the reason that a known issue gives for the failure of the target
