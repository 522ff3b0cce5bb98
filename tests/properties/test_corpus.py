"""The cases of ``--moe-corpus``: what earlier runs found, or had to try hard to reach, holds for each target of the run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from moefuzz.harness.levels.cases import Case
from moefuzz.harness.pytest_plugin.corpus import cases_of_run
from moefuzz.harness.targets.registry import OWN_TARGETS, load_target, specs_of_run
from moefuzz.harness.verdict.check import check
from moefuzz.harness.verdict.isolation import isolated

HELD = [(spec, case) for level in OWN_TARGETS for spec in specs_of_run(level) for case in cases_of_run() if case.level == level]

if HELD:

    @pytest.fixture(scope="module", autouse=True)
    def _in_a_process_of_their_own() -> Iterator[None]:
        """A case that has ended its process may do so again."""
        with isolated():
            yield

    @pytest.mark.parametrize(("spec", "case"), HELD, ids=[f"{spec}-{case!r}" for spec, case in HELD])
    def test_a_case_of_the_corpus_is_right(spec: str, case: Case) -> None:
        target = load_target(spec)
        if not target.takes(case):
            pytest.skip(f"{spec} does not declare it")
        check(case, target)
