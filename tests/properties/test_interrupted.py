"""What an earlier run did not survive is tried again first, in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from moefuzz.harness.targets.registry import OWN_TARGETS, load_target, specs_of_run
from moefuzz.harness.verdict.check import check
from moefuzz.harness.verdict.isolation import isolated
from moefuzz.harness.verdict.journal import InterruptedCase, interrupted_cases

LEFT = interrupted_cases(load_target(spec).name for level in OWN_TARGETS for spec in specs_of_run(level))

if LEFT:

    @pytest.fixture(scope="module")
    def apart() -> Iterator[None]:
        """Until the failure is minimised, too."""
        with isolated():
            yield

    @pytest.mark.usefixtures("apart")
    @pytest.mark.parametrize("left", LEFT, ids=lambda left: repr(left.case))
    def test_a_case_that_was_running_when_a_run_was_killed(left: InterruptedCase) -> None:
        target = load_target(left.target)
        try:
            if target.takes(left.case):
                check(left.case, target)
        finally:
            left.done()
