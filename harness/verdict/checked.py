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

MOST_ELEMENTS = 20_000
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
    """Return what was noted on a failure; None where nothing was, or where it stayed in another process or cannot be read here."""
    if isinstance(failure.checked, bytes):
        try:
            failure.checked = pickle.loads(failure.checked)  # noqa: S301 - values of moefuzz, and of the level: see _plain
        except Exception:  # of a level whose module this process has not imported
            failure.checked = None
    checked: Checked | None = failure.checked
    return checked


def packed(failure: Failure) -> bytes | None:
    """Return what was noted on a failure as another process can read it; None for nothing, and where it is too large."""
    checked = checked_of(failure)
    if checked is None or failure.case.elements > MOST_ELEMENTS:
        return None
    try:
        claims = tuple(replace(claim, got=_plain(claim.got)) for claim in checked.claims)
        return pickle.dumps(replace(checked, result=None, claims=claims))
    except Exception:  # whatever a target returned may refuse to be copied
        return None


def _plain(got: object) -> Any:
    """Return a tensor of the same numbers that is torch's own, on the CPU and without a graph; None for what is none.

    A subclass, or any other object, would bring code of the target into the process that reads it.
    """
    if not isinstance(got, torch.Tensor) or got.layout != torch.strided or got.is_meta or got.is_nested:
        return None
    with torch._C.DisableTorchFunctionSubclass():
        plain = torch.Tensor.as_subclass(got.detach().cpu().clone(), torch.Tensor)
    return plain if type(plain) is torch.Tensor else None
