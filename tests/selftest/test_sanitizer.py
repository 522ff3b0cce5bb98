"""The sanitizer against a zoo of wrong kernels, each found with its class and line, and one of right kernels, in which nothing is found."""

from __future__ import annotations

import pytest

from moefuzz.harness import sanitize
from moefuzz.kernels.interpreter import in_force

from . import sanitizer_zoo_outside
from .sanitizer_zoo import faults_of, planted

pytestmark = [
    pytest.mark.skipif(not in_force(), reason="the interpreter is not in force: there is a GPU"),
    pytest.mark.filterwarnings("ignore:tl.make_block_ptr is deprecated"),  # but kernels have it
]


@pytest.mark.parametrize("name", sanitizer_zoo_outside.LAUNCHES)
def test_an_access_outside_is_found_where_it_is(name: str) -> None:
    with sanitize() as findings:
        sanitizer_zoo_outside.LAUNCHES[name]()
    assert faults_of(findings) == planted(sanitizer_zoo_outside.__file__, name), "\n".join(map(str, findings))
