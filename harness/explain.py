"""Which fields of a minimal case do not matter: the failure stays the same whatever else they are.

Hypothesis' explain phase says so of arguments, and a property has one, the case. Here it is said of each field, by trying every value that
the field may have, or a few where it may have any.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

from .cases import FAR_AXES, Case
from .failures import Failure
from .minimise import SEEDS, choices_of
from .targets import Target

_SIZES = ("N", "K", "hidden_size", "moe_intermediate_size")
_EXPLAINED = (
    "dtype", "data", "seed", "order", "permute", "is_first_gemm", "x_layout", "w_layout", "dy_layout", "act", "logits", "norm_topk_prob",
    "permute_x", "permute_y", "config",
)  # fmt: skip


def irrelevant(failure: Failure, fails: Callable[[Case], Failure | None], target: Target, *, seconds: float = 60.0) -> tuple[str, ...]:
    """The fields that can have any other value that the target takes, and of sizes any larger one: its bucket stays the same.

    ``fails`` runs a case. A field for which there was no time, or no other value, is left out.
    """
    stop = time.monotonic() + seconds
    return tuple(name for name, others in _fields(failure.case) if _all_fail(failure, fails, target, name, others, stop))


def in_words(names: tuple[str, ...]) -> str:
    """What a report says of irrelevant fields.

    >>> in_words(("dtype", "seed", "K")), in_words(())
    ('any dtype, any seed, any larger K', '')
    """
    return ", ".join(f"any larger {name}" if name in _SIZES else f"any {name}" for name in names)


def _fields(case: Case) -> Iterator[tuple[str, list[Any]]]:
    for name in (*_EXPLAINED, *_SIZES):
        if hasattr(case, name):
            value = getattr(case, name)
            choices = (value + 1, 2 * value + 1, value + 16) if name in _SIZES else SEEDS if name == "seed" else choices_of(name)
            yield name, [choice for choice in choices if choice != value and choice not in FAR_AXES]  # far: gigabytes for a word


def _all_fail(failure: Failure, fails: Callable[[Case], Failure | None], target: Target, name: str, others: list[Any], stop: float) -> bool:
    tried = 0
    for other in others:
        if time.monotonic() > stop:
            return False
        try:
            case = dataclasses.replace(failure.case, **{name: other})
        except ValueError:  # a combination that no case can have
            continue
        if not target.takes(case) or target.limit_on(case) != target.limit_on(failure.case):
            continue
        found = fails(case)
        if found is None or found.bucket != failure.bucket:
            return False
        tried += 1
    return tried > 0
