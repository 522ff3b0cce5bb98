"""A large case on its way to a small one: experts and loads by halves, sizes by bisection. ``minimise`` then goes on in single steps.

A step that leaves fewer of something is tried in rounds, from half of what there is to single ones, as delta debugging does (Zeller and
Hildebrandt, "Simplifying and isolating failure-inducing input", 2002). A number is bisected between the smallest that it may be and the
one that fails. Where larger numbers do not fail whenever smaller ones do, what bisection finds is a number that fails and no more.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from moefuzz.harness.base.case import Case

MANY = 12
"""A case with more experts than this is large."""

LONG = 64
"""So is one with a larger size or load."""

_UNITS = (128, 64, 32, 16, 8, 4, 2)
"""The units in which a size that is a multiple of one is bisected before it is bisected in ones: a target may take multiples alone."""


def is_large(case: Case) -> bool:
    """Return whether a case has many experts, or a large size or load."""
    return len(case.rows) > MANY or max((*case.rows, *(getattr(case, name) for name in case.sizes)), default=0) > LONG


def from_large(case: Case, fails: Callable[[Case], bool]) -> Case:
    """Return a smaller case that fails too, if one is found; ``fails`` runs a case, and says no when the time is up."""
    while True:
        before = case
        case = _with_fewer_experts(case, fails)
        case = _with_lower_loads(case, fails)
        case = _with_fewer_busy_experts(case, fails)
        for name, smallest in case.sizes.items():
            case = _bisected(case, functools.partial(_with_size, name), getattr(case, name), smallest, fails)
        if case == before:
            return case


def _with_size(name: str, _: Case, value: int) -> dict[str, Any]:
    return {name: value}


def _with_fewer_experts(case: Case, fails: Callable[[Case], bool]) -> Case:
    """Leave out experts, half of them at first, then fewer at a time."""
    count = len(case.rows) // 2
    while count and len(case.rows) > 1:
        start = 0
        while start < len(case.rows) and len(case.rows) > count:
            case, left_out = _taken(case, {case.rows_of: case.rows[:start] + case.rows[start + count :]}, fails)
            start += 0 if left_out else count
        count = count // 2 if count > 1 or len(case.rows) <= MANY else 0
    return case


def _with_fewer_busy_experts(case: Case, fails: Callable[[Case], bool]) -> Case:
    """Take all rows from experts, from half of those that have some at first, then from fewer at a time."""
    count = -(-sum(load > 0 for load in case.rows) // 2)
    while count:
        busy = [e for e, load in enumerate(case.rows) if load]
        for start in range(0, len(busy), count):
            emptied = set(busy[start : start + count])
            rows = tuple(0 if e in emptied else load for e, load in enumerate(case.rows))
            case, _ = _taken(case, {case.rows_of: rows}, fails)
        count = count // 2
    return case


def _with_lower_loads(case: Case, fails: Callable[[Case], bool]) -> Case:
    """Bisect the largest load that any expert may have, then the largest load itself, with all rows for one expert if that will do."""
    if sum(load > 0 for load in case.rows) > 1:
        case, _ = _taken(case, {case.rows_of: (*(0,) * (len(case.rows) - 1), sum(case.rows))}, fails)
    capped = lambda case, most: {case.rows_of: tuple(min(load, most) for load in case.rows)}
    case = _bisected(case, capped, max(case.rows, default=0), 0, fails)
    for e in sorted(range(len(case.rows)), key=lambda e: -case.rows[e])[:2]:
        one = lambda case, load, e=e: {case.rows_of: (*case.rows[:e], load, *case.rows[e + 1 :])}
        case = _bisected(case, one, case.rows[e], 0, fails)
    return case


def _bisected(case: Case, changed: Callable[[Case, int], dict[str, Any]], value: int, smallest: int, fails: Callable[[Case], bool]) -> Case:
    """Bisect a number of a case that fails, in the units of which it is a multiple, then in ones."""
    for unit in (*(unit for unit in _UNITS if value % unit == 0), 1):
        low, high = smallest // unit - 1, value // unit  # in units; low passes, as far as is known
        while high - low > 1:
            middle = max((low + high) // 2, -(-smallest // unit))
            if middle >= high:
                break
            smaller, taken = _taken(case, changed(case, middle * unit), fails)
            if taken:
                case, high = smaller, middle
            else:
                low = middle
        if high * unit < value or unit == 1:
            value = high * unit
    return case


def _taken(case: Case, fields: dict[str, Any], fails: Callable[[Case], bool]) -> tuple[Case, bool]:
    """Return the valid case nearest to one with other fields, if it is simpler and fails, and whether it is taken; else the case."""
    own = {field.name: getattr(case, field.name) for field in dataclasses.fields(case)}
    kind: Any = type(case)
    try:
        other: Case = getattr(kind, "fitted", kind)(**{**own, **fields})
    except ValueError:  # a combination that no case can have
        return case, False
    return (other, True) if _size(other) < _size(case) and fails(other) else (case, False)


def _size(case: Case) -> tuple[int, int]:
    """By what a case is large: experts, busy ones, rows and sizes together; then its largest load."""
    numbers = (len(case.rows), sum(load > 0 for load in case.rows), sum(case.rows), *(getattr(case, name) for name in case.sizes))
    return sum(numbers), max(case.rows, default=0)
