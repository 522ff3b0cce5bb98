"""The registry of levels, and the contract of each, on which declarations are based. Importing a contract imports no torch.

Stages look a level up by the name that a case or a target has for it. ``register`` adds a level of another package.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .case import Case

LEVELS = {
    "grouped_gemm": "moefuzz.harness.levels.grouped_gemm",
    "experts": "moefuzz.harness.levels.experts",
    "moe_block": "moefuzz.harness.levels.moe_block",
}
"""The package of each level: ``contract.py`` in it has its CONTRACT, and ``level.py`` its LEVEL."""

DEFAULT_LEVEL = next(iter(LEVELS))


@dataclass(frozen=True)
class Contract:
    """The parameters and results of targets of a level, and the fields that they can declare."""

    level: str
    case: type[Case]
    parameters: tuple[str, ...]  # of a target, in order; the first determines the level of a plain function
    inputs: tuple[str, ...]  # the tensors that a target must not change
    passes: Mapping[str, str]  # "forward" or "backward" for each tensor that is compared
    limits: tuple[str, ...]  # the fields of Target that limit the cases
    declares: tuple[str, ...] = ()  # further fields of Target that have a meaning at this level only
    optional: tuple[str, ...] = ()  # further parameters that a target may require
    own_targets: tuple[str, ...] = ()  # names of the targets that come with the package, the default first
    own_fields: Mapping[str, Any] = field(default_factory=dict)  # the declarations of these targets


_REGISTERED: dict[str, tuple[Contract, Any]] = {}


def register(contract: Contract, level: Any) -> None:
    """Add a level of another package: its contract and its Level. Call it where the module of its targets is imported.

    A later registration takes the place of an earlier one. Raises ValueError for the name of a level of moefuzz's own, and for a
    tensor that another level has in another pass.
    """
    if contract.level in LEVELS:
        raise ValueError(f"{contract.level!r} is a level of moefuzz's own: give another name")
    others = {tensor: made_by for other in contracts() if other.level != contract.level for tensor, made_by in other.passes.items()}
    for tensor, made_by in contract.passes.items():
        if others.get(tensor, made_by) != made_by:
            raise ValueError(f"{tensor} is a tensor of the {others[tensor]} pass at another level: give another name")
    _REGISTERED[contract.level] = contract, level


def level_names() -> tuple[str, ...]:
    """Return the names of all levels, the default first."""
    return (*LEVELS, *_REGISTERED)


def contract_of(level: str) -> Contract:
    """Return the contract of a level. Raises KeyError for an unknown name."""
    return _REGISTERED[level][0] if level in _REGISTERED else _imported(level, "contract")


def implementation_of(level: str) -> Any:
    """Return the Level of a name: see ``levels/level.py``. Raises KeyError for an unknown name."""
    return _REGISTERED[level][1] if level in _REGISTERED else _imported(level, "level")


@functools.cache
def _imported(level: str, what: str) -> Any:
    return getattr(importlib.import_module(f"{LEVELS[level]}.{what}"), what.upper())


def contracts() -> Iterator[Contract]:
    """Yield the contract of each level."""
    yield from map(contract_of, level_names())


def passes() -> dict[str, str]:
    """Return the compared tensors of all levels, and the pass that computes each."""
    return {tensor: made_by for contract in contracts() for tensor, made_by in contract.passes.items()}


def inputs() -> tuple[str, ...]:
    """Return the inputs of all levels."""
    return tuple(dict.fromkeys(name for contract in contracts() for name in contract.inputs))


def level_of_first_parameter(name: str) -> str | None:
    """Return the level whose targets have a first parameter of this name, or None."""
    return next((contract.level for contract in contracts() if contract.parameters[0] == name), None)
