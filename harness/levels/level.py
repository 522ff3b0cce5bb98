"""The parts of a level: a ``Level`` in its ``level.py``. Its contract and its case lie apart, since declarations use them without torch.

A case becomes a problem (``build``), a target runs on it (``run``), each tensor of the result has a claim (``claims``), and a second call
must agree with the first (``relations``). The class of the case has the features of a case and the ways in which it gets simpler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch

from moefuzz.harness.base.contract import implementation_of
from moefuzz.harness.base.device import side_stream
from moefuzz.harness.numerics.claims import Claim
from moefuzz.harness.targets import Target

Problem = TypeVar("Problem")
Part = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class FollowUp(Generic[Problem]):
    """A second call, and which parts of its results equal those of the first, as (part of the first's tensor, part of the second's)."""

    problem: Problem
    compare: Mapping[str, tuple[Part, Part]] = field(default_factory=dict)
    run: Callable[[Problem, Target, torch.device], Any] | None = None  # if not the plain one; returns None where the target may refuse
    bitwise: bool = False  # equal bit for bit on any data
    check_bounds: bool = True
    skip_tensors: tuple[str, ...] = ()  # tensors that the second call does not have
    dtype: torch.dtype | None = None  # the dtype in which the results are judged, if not that of the inputs
    nondeterminism: bool = False  # the call is the same: a difference is reported as nondeterminism, not as a broken relation


@dataclass(frozen=True)
class ScriptParts:
    """The parts of a standalone script, which builds the tensors of a problem, calls the target and compares one of its results.

    Texts are Python expressions in the names of the script's template.
    """

    tensors: Mapping[str, torch.Tensor]
    leaves: tuple[str, ...]  # the tensors that require grad
    got: str  # the tensor that is wrong
    right: str  # the same in float64
    of_run: bool  # ``got`` is what ``run()`` returns
    shape: tuple[int, ...]  # the shape that ``got`` must have
    inputs: tuple[str, ...]  # the tensors that a call must not change
    has_rows: bool = True
    keywords: tuple[str, ...] = ()
    far: Mapping[str, int] = field(default_factory=dict)  # the tensors whose entries lie gigabytes apart along an axis
    place: Callable[[tuple[int, ...]], tuple[int, ...]] = tuple  # maps an element of a mismatch to its index in ``got``
    more: Mapping[str, object] = field(default_factory=dict)  # further variables of the template of the level


class NoScript(Exception):
    """A failure has no script; the text says why."""


@dataclass(frozen=True)
class Level(Generic[Problem]):
    """The functions that turn a case of one level into a verdict and a script."""

    build: Callable[[Any], Problem]
    run: Callable[..., Any]  # (problem, target, device, poison="nan" or "finite") -> result; raises Failure
    tensors: Callable[[Problem, Any], dict[str, torch.Tensor]]  # of a result, by name, in the order of computation
    claims: Callable[[Problem, Any, Target], list[Claim]]
    relations: Mapping[str, Callable[[Problem, Target], Iterator[FollowUp[Problem]]]] = field(default_factory=dict)
    script: Callable[[Problem, str | None, Target], ScriptParts] | None = None  # (problem, wrong tensor, target); raises NoScript
    template: str = ""  # of the script: extends report/templates/script/base.py.jinja


def level_of(name: str) -> Level[Any]:
    """Return the level of a name. Raises KeyError for an unknown name."""
    level: Level[Any] = implementation_of(name)
    return level


def on_another_stream(run: Callable[[Problem, Target, torch.device], Any]) -> Callable[[Problem, Target, torch.device], Any]:
    """Return a function that calls ``run`` on a CUDA stream of its own."""

    def run_there(problem: Problem, target: Target, device: torch.device) -> Any:
        with side_stream(device):
            return run(problem, target, device)

    return run_there


def by_name(names: Sequence[str], functions: Sequence[Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Return the function of each relation that a case can name: "rows permuted" is ``rows_permuted``."""
    of = {function.__name__: function for function in functions}
    return {name: of[name.lower().replace(" ", "_")] for name in names}


def whole(t: torch.Tensor) -> torch.Tensor:
    return t


def at(index: Any) -> Part:
    """Return a function that takes the part of a tensor at an index."""
    return lambda t: t[index]
