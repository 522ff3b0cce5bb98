"""What is said of the lines, branches and masks that launches reach."""

from __future__ import annotations

import sys

import pytest
import torch

from moefuzz.harness import sanitize
from moefuzz.harness.sanitizer.coverage import coverage
from moefuzz.kernels.triton_interpreter import in_force

from .zoo import right
from .zoo.expectations import numbers

pytestmark = pytest.mark.skipif(not in_force(), reason="the interpreter is not in force: there is a GPU")


def left_out(*ends: int) -> list[str]:
    """What ``returns_early`` leaves out where its programs have so many live lanes of four; lines counted from its own."""
    with coverage() as collected:
        right.returns_early[(len(ends),)](numbers(len(ends), 4), torch.tensor(ends), torch.empty(len(ends)))
    ((function, reached),) = collected.functions.items()
    first = function.line
    return [
        line.replace(str(number), f"+{number - first}")
        for line in reached.left_out()
        for number in map(int, line.split()[1].split(":")[:1])
    ]


ONLY_FULL = ["line +3: if never true", "line +6: mask never false"]
SEEN = {
    (4,): ONLY_FULL,
    (4, 2): ONLY_FULL[:1],
    (4, 0): ONLY_FULL[1:],
    (0, 3): [],
    (0,): ["line +3: if never false", "line +6: not reached"],
}


@pytest.mark.parametrize("ends", SEEN)
def test_what_no_program_reaches_is_named(ends: tuple[int, ...]) -> None:
    assert left_out(*ends) == SEEN[ends]


def test_helpers_have_a_row_and_tritons_own_have_none() -> None:
    before = sys.gettrace()
    with coverage() as collected, sanitize() as findings:
        right.squares[(1,)](numbers(5), torch.empty(5), 5)
        right.softmax[(3,)](numbers(3, 8), torch.empty(3, 5), 8, 5)
    assert [function.name for function in collected.functions] == ["squares", "square", "softmax"] and findings == []
    assert collected.table().row_count == 3 and sys.gettrace() is before


def test_one_inside_another_takes_nothing_from_it() -> None:
    with coverage() as outer:
        with coverage() as inner:
            right.squares[(1,)](numbers(5), torch.empty(5), 5)
        right.softmax[(3,)](numbers(3, 8), torch.empty(3, 5), 8, 5)
    reached = {function.name: each for function, each in outer.functions.items()}
    assert list(reached) == ["squares", "square", "softmax"] and len(inner.functions) == 2
    assert next(iter(inner.functions.values())).arcs == reached["squares"].arcs
