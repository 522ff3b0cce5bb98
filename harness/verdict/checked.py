"""What ``check`` has of a failing case, as one value that its report is made of: nothing is built, and no target runs, a second time."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from moefuzz.harness.failures import Failure
from moefuzz.harness.numerics.claims import Claim

MOST_ELEMENTS = 1_000_000
"""A case with more elements is not sent from one process to another: its report runs it again where cases run."""


@dataclass(frozen=True)
class SecondCall:
    """The second call of a relation, in which a target failed or disagreed with the first."""

    problem: Any
    is_plain: bool  # a call like the first, on another problem, which a script can make
    tensor: str = ""  # that disagrees, if both calls are right by themselves
    first_part: tuple[int, ...] = ()  # the flat indices of what is compared in the first result
    second_part: tuple[int, ...] = ()
    unlike: str = ""  # why there are no such indices


@dataclass(frozen=True)
class Checked:
    """A case as it was built, run and judged, as far as it came."""

    level: str
    problem: Any
    result: Any = None  # of the plain call; None where it gave none, or came from another process
    claims: tuple[Claim, ...] = ()  # the tensors of the result, each beside its reference and bound
    second: SecondCall | None = None  # the call that failed, if it was not the first


@contextmanager
def kept(checked: Checked) -> Iterator[None]:
    """Note on a Failure that leaves the block what there is of its case, unless that is noted already."""
    __tracebackhide__ = True
    try:
        yield
    except Failure as failure:
        if failure.checked is None:
            failure.checked = checked
        raise


def checked_of(failure: Failure) -> Checked | None:
    """Return what was noted on a failure; None where nothing was, or where it stayed in another process."""
    if isinstance(failure.checked, bytes):
        failure.checked = pickle.loads(failure.checked)  # noqa: S301 - of a worker of ours
    checked: Checked | None = failure.checked
    return checked


def packed(failure: Failure) -> bytes | None:
    """Return what was noted on a failure as another process can read it; None for nothing, and where it is too large."""
    checked = checked_of(failure)
    if checked is None or failure.case.elements > MOST_ELEMENTS:
        return None
    try:
        claims = tuple(replace(claim, got=_apart(claim.got)) for claim in checked.claims)
        return pickle.dumps(replace(checked, result=None, claims=claims))
    except Exception:  # whatever a target returned may refuse to be copied
        return None


def _apart(got: Any) -> Any:
    """A tensor without its graph and its device; anything else as it is."""
    return got.detach().cpu() if isinstance(got, torch.Tensor) else got
