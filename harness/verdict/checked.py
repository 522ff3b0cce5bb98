"""What ``check`` knows of a failing case, as one value. A report is made of it: no problem is built and no target runs a second time."""

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
"""A case with more elements is not sent from one process to another; its report runs it again in the worker."""


@dataclass(frozen=True)
class SecondCall:
    """The second call of a relation, in which a target failed or disagreed with the first."""

    problem: Any
    is_plain: bool  # a call like the first, on another problem: a script can make it
    tensor: str = ""  # the tensor that disagrees, if both calls are right by themselves
    first_part: tuple[int, ...] = ()  # the flat indices of the compared elements in the first result
    second_part: tuple[int, ...] = ()
    unlike: str = ""  # the reason where such indices do not exist


@dataclass(frozen=True)
class Checked:
    """A case as it was built, run and judged, up to the stage that it reached."""

    level: str
    problem: Any
    result: Any = None  # of the plain call; None where that returned nothing, or ran in another process
    claims: tuple[Claim, ...] = ()  # the tensors of the result, each beside its reference and bound
    second: SecondCall | None = None  # the call that failed, if it was not the first


@contextmanager
def kept(checked: Checked) -> Iterator[None]:
    """Set ``checked`` on a Failure that leaves the block, unless it is set already."""
    __tracebackhide__ = True
    try:
        yield
    except Failure as failure:
        if failure.checked is None:
            failure.checked = checked
        raise


def checked_of(failure: Failure) -> Checked | None:
    """Return the ``Checked`` of a failure; None where it has none, or where that stayed in another process."""
    if isinstance(failure.checked, bytes):
        failure.checked = pickle.loads(failure.checked)  # noqa: S301 - written by our own worker
    checked: Checked | None = failure.checked
    return checked


def packed(failure: Failure) -> bytes | None:
    """Return the ``Checked`` of a failure, pickled for another process; None where there is none, or where it is too large."""
    checked = checked_of(failure)
    if checked is None or failure.case.elements > MOST_ELEMENTS:
        return None
    try:
        claims = tuple(replace(claim, got=_apart(claim.got)) for claim in checked.claims)
        return pickle.dumps(replace(checked, result=None, claims=claims))
    except Exception:  # a target may return what cannot be copied
        return None


def _apart(got: Any) -> Any:
    """Return a tensor without its graph, on the CPU; anything else as it is."""
    return got.detach().cpu() if isinstance(got, torch.Tensor) else got
