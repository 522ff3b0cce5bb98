"""Mutants: each changes today's source into other source that parses, and of every kind of change one is killed here."""

from __future__ import annotations

import ast
import functools
import itertools
import runpy

import pytest
from hypothesis import given, seed

from moefuzz.harness.base.hypothesis_profiles import drawn
from moefuzz.harness.failures import Failure
from moefuzz.harness.levels.cases import Case
from moefuzz.harness.planted.kernel_copies import SOURCE
from moefuzz.harness.planted.mutants import mutants
from moefuzz.harness.verdict.check import check
from moefuzz.strategies import experts_cases
from moefuzz.strategies.regimes import any_cases
from moefuzz.tests.selftest.pytest_plugin.test_plugin import ROOT

SAMPLE = (
    "grouped_gemm.py forward: unwritten: X.new_zeros(",
    "sorted_rows.py row_ends: counts as offsets: self.m_sizes.cumsum(",
    "dw.py _grouped_gemm_dw_kernel: accumulator forgotten: ",
    "dw.py _grouped_gemm_dw_kernel: last step dropped: ",
    "dw.py grouped_gemm_dw: floor: -(-N // ",
    "rows.py _grouped_gemm_rows_kernel: accumulator: tl.float32 -> tl.bfloat16",
    "rows.py _grouped_gemm_rows_kernel: operands rounded: ",
    "rows_tma.py _tile: accumulator forgotten: ",
    "rows_tma.py _tile: exchanged: end -> start",
    "dw_tma.py _grouped_gemm_dw_tma_kernel: first step dropped: ",
    "tile_schedule.py _tile_schedule_kernel: counts as offsets: tl.cumsum(tiles",
    "combine_rows.py _weighted_sum_grad_kernel: left operand: slots // topk * H",
    "gated_activation.py _gated_grad_kernel: sign: ",
)
"""The beginnings of names."""


@functools.cache
def statements(file: str) -> tuple[str, list[tuple[int, int]]]:
    """The text of a kernel file, and where each of its top-level statements begins and ends."""
    text = next(SOURCE.rglob(file)).read_text()
    ends = list(itertools.accumulate(map(len, text.splitlines(keepends=True)), initial=0))
    nodes = ast.parse(text).body
    first = [min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))]) for node in nodes]
    return text, [(ends[line - 1], ends[node.end_lineno or line]) for line, node in zip(first, nodes, strict=True)]


def tree(text: str) -> str:
    return ast.dump(ast.parse(text))


def test_every_mutant_has_a_name_of_its_own_and_changes_its_file() -> None:
    names = [mutant.name for mutant in mutants()]
    assert len(set(names)) == len(names) > 400
    for mutant in mutants():
        text, places = statements(mutant.file)
        edited = mutant.edited(mutant.file, text)
        start, end = next((start, end) for start, end in places if start <= mutant.start < end)
        assert edited[:start] == text[:start] and edited[end + len(edited) - len(text) :] == text[end:]
        assert tree(edited[start : end + len(edited) - len(text)]) != tree(text[start:end])
        assert mutant.edited("another.py", text) == text


def test_what_is_proven_equivalent_is_a_mutant() -> None:
    proven = runpy.run_path(str(ROOT / "benchmarks" / "equivalent_mutants.py"))["EQUIVALENT"]
    assert set(proven) <= {mutant.name for mutant in mutants()}


@pytest.mark.parametrize("beginning", SAMPLE)
def test_a_mutant_is_killed(beginning: str) -> None:
    target = next(mutant for mutant in mutants() if mutant.name.startswith(beginning)).target()

    @seed(0)
    @drawn(100)
    @given(experts_cases(target) if target.level == "experts" else any_cases(target))
    def attempt(case: Case) -> None:
        check(case, target)

    with pytest.raises(Failure):
        attempt()
