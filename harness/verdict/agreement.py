"""What ``check`` returns."""

from __future__ import annotations

from dataclasses import dataclass

from moefuzz.harness.base.case import Case


@dataclass(frozen=True)
class Agreement:
    """A case on which a target is right, and by tensor the largest share of its bound that was used; or one that it rightly refused."""

    case: Case
    shares: dict[str, float]
    refused: str = ""  # outside the declaration: what the target said
    known: str = ""  # the target is wrong as a known issue says, for this reason
