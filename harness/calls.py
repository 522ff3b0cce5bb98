"""One call of a target in memory that tells on it; the same at every level."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeVar

import torch

from .cases import Case
from .device import float32_reductions
from .failures import INPUT_MODIFIED, WroteOutside, raised
from .memory import Allocations, Arena
from .resources import NoRoom, lack_of_memory
from .targets import Target

Result = TypeVar("Result")


def call_in_fences(
    run: Callable[[], Result], case: Case, target: Target, device: torch.device, *, poison: str, arena: Arena | None = None
) -> Result:
    """What ``run`` returns; what it allocates is fenced and starts with ``poison``, and so are the inputs in ``arena``.

    Raises the failures Raised, WroteOutside, ReadOutside and InputModified.
    """
    __tracebackhide__ = True
    allocations = Allocations(device, poison)
    if arena is not None:
        allocations.fences.append(arena.fence())
    reductions = float32_reductions() if target.float32_reductions else nullcontext()
    try:
        with reductions, warnings.catch_warnings(action="ignore"), allocations:  # a warning is no failure, whatever the run makes of it
            result = run()
    except (Exception, SystemExit) as error:
        if lack := lack_of_memory(error):
            raise NoRoom(lack) from error
        raise raised(case, target.name, error) from error
    for name, byte in arena.changes() if arena is not None else ():
        if name is None:
            assert arena is not None
            raise WroteOutside(case, target.name, f"wrote outside: {arena.place_of(byte)}")
        raise INPUT_MODIFIED[name](case, target.name, f"changed its input {name} at byte {byte}")
    allocations.hold(case, target.name)
    return result
