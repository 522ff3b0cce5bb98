"""The sanitizer against a zoo of wrong kernels, each found with its class and line, and one of right kernels, in which nothing is found."""

from __future__ import annotations

import pytest

from moefuzz.harness import sanitize
from moefuzz.kernels.triton_interpreter import in_force

from .zoo import outside, races, right, unwritten
from .zoo import right_together as together
from .zoo.expectations import faults_of, planted

pytestmark = [
    pytest.mark.skipif(not in_force(), reason="the interpreter is not in force: there is a GPU"),
    pytest.mark.filterwarnings("ignore:tl.make_block_ptr is deprecated"),  # but kernels have it
]


@pytest.mark.parametrize("name", outside.LAUNCHES)
def test_an_access_outside_is_found_where_it_is(name: str) -> None:
    with sanitize() as findings:
        outside.LAUNCHES[name]()
    assert faults_of(findings) == planted(outside.__file__, name), "\n".join(map(str, findings))


@pytest.mark.parametrize("name", unwritten.LAUNCHES)
def test_what_is_not_written_once_is_found(name: str) -> None:
    expected = planted(unwritten.__file__, name.split(maxsplit=1)[0])
    with sanitize(written_twice=any(kind == "WrittenTwice" for kind, *_ in expected)) as findings:
        unwritten.LAUNCHES[name]()
    unwritten.HELD.clear()
    assert faults_of(findings) == expected, "\n".join(map(str, findings))


@pytest.mark.parametrize("name", races.LAUNCHES)
def test_a_race_is_found_and_whether_it_changes_the_result(name: str) -> None:
    with sanitize() as findings:
        races.LAUNCHES[name]()
    assert faults_of(findings) == planted(races.__file__, name), "\n".join(map(str, findings))
    changes = None if name in races.ENDLESS_IN_REVERSE else name not in races.SAME_RESULT
    assert {finding.changes_result for finding in findings} == {changes}


RIGHT = right.LAUNCHES | together.LAUNCHES


@pytest.mark.parametrize("name", RIGHT)
def test_nothing_is_found_in_a_right_kernel(name: str) -> None:
    with sanitize() as findings:
        results = RIGHT[name]()
    assert results is not None and findings == [], "\n".join(map(str, findings))
