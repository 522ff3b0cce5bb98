"""What a failure needs: truths of its case that others around it lack, by which bugs of one bucket are told apart."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

from moefuzz.harness.base.features import features
from moefuzz.harness.failures import WRONG_VALUE, Crash, Failure
from moefuzz.harness.levels.cases import Case, ExpertsCase, GroupedGemmCase, MoeBlockCase
from moefuzz.harness.reduction.explain import Explanation, Region, explain, is_explained
from moefuzz.harness.targets.registry import load_target
from moefuzz.harness.verdict.check import failure_of

TRITON = load_target("triton")


def failing(where: Callable[[GroupedGemmCase], bool], case: Case) -> Failure | None:
    return Crash(case, "triton", "made up") if isinstance(case, GroupedGemmCase) and where(case) else None


def explained(where: Callable[[GroupedGemmCase], bool], smallest: GroupedGemmCase) -> Explanation:
    fails = functools.partial(failing, where)
    failure = fails(smallest)
    assert failure is not None
    return explain(failure, fails, TRITON)


def test_every_kind_of_case_has_truths() -> None:
    assert {"N > 16", "rows > 2", "a load of 3"} <= features(GroupedGemmCase((0, 3), N=17))
    assert {"hidden_size > 8", "act is relu"} <= features(ExpertsCase((1, 2), act="relu"))
    assert {"topk > 1", "norm_topk_prob is True"} <= features(MoeBlockCase((2, 2), topk=2))


def test_what_a_made_up_bug_needs_is_found() -> None:
    assert explained(lambda case: case.K > 16, GroupedGemmCase((0,), K=17)).region.in_words() == ["K > 16"]
    assert explained(lambda case: max(case.m_sizes) > 256, GroupedGemmCase((257,))).region.in_words() == [
        "a load > 256",
        "a load > block_m",
    ]
    starved = explained(lambda case: case.m_sizes[-1] == 0 and case.tail_rows > 0, GroupedGemmCase((0,), tail_rows=1)).region
    assert starved.in_words() == ["no rows for the last expert", "tail_rows > 0"] and starved.is_exact
    odd = explained(lambda case: case.N % 16 == 5 and case.E > 2, GroupedGemmCase((0, 0, 0), N=5)).region
    assert {"N modulo 16 is 5", "experts > 2"} <= odd.needs
    assert odd.covers(GroupedGemmCase((1, 2, 3, 4), N=37, K=9)) and not odd.covers(GroupedGemmCase((1, 2, 3), N=6))


def test_a_threshold_is_exact_whatever_it_is() -> None:
    deep = explained(lambda case: case.K > 1_500, GroupedGemmCase((0,), K=1_501)).region
    assert "K > 1500" in deep.in_words() and deep.covers(GroupedGemmCase((3,), K=1_502)) and not deep.covers(GroupedGemmCase((0,), K=1_500))
    many = explained(lambda case: case.E > 136, GroupedGemmCase((0,) * 137)).region
    assert many.in_words() == ["experts > 136"] and Region.of(many.plain()).covers(GroupedGemmCase((1,) * 138))
    both = explained(lambda case: max(case.m_sizes) > 300 and case.E > 3, GroupedGemmCase((0, 0, 0, 301))).region
    assert both.in_words() == ["a load > 300", "a load > block_m", "experts > 3"]


def test_a_failure_that_comes_always_needs_nothing() -> None:
    assert explained(lambda _: True, GroupedGemmCase((0,))).region.needs == frozenset()


def test_another_failure_says_nothing_of_this_one() -> None:
    def fails(case: Case) -> Failure | None:
        assert isinstance(case, GroupedGemmCase)
        hidden = WRONG_VALUE["Y"](case, "triton", "made up") if case.N > 1 else None
        return hidden or (WRONG_VALUE["dX"](case, "triton", "made up") if case.K > 16 else None)

    failure = fails(GroupedGemmCase((1,), K=17))
    assert failure is not None
    assert explain(failure, fails, TRITON).region.in_words() == ["K > 16"], "and not that N is 1"


THEIRS = "moefuzz.tests.selftest.support.wrong_kernels:doubles_weight_gradients_of_three_choices"


def test_data_that_are_zero_by_luck_are_not_what_a_failure_needs() -> None:
    target, case = load_target(THEIRS), ExpertsCase((1, 1, 1), topk=3, hidden_size=1, moe_intermediate_size=1)
    fails = functools.partial(failure_of, target=target)
    failure = fails(case)
    assert failure is not None and fails(dataclasses.replace(case, data="signs")) is None
    said = explain(failure, fails, target)
    assert said.region.in_words() == ["data is not zeros", "topk > 2"] and said.region.is_exact and 40 < said.tried < 120


def test_data_are_named_where_they_matter_and_not_where_another_report_keeps_the_others() -> None:
    assert explained(lambda case: case.data == "wide", GroupedGemmCase((0,), data="wide")).region.in_words() == ["data is wide"]
    both = frozenset({"data is not signs", "data is not zeros"})
    others = Region(both, frozenset({both}))
    fails = functools.partial(failing, lambda case: case.K > 16 and case.data != "zeros")
    failure = fails(GroupedGemmCase((0,), K=17, data="signs"))
    assert failure is not None
    assert explain(failure, fails, TRITON, exclude=[others]).region.in_words() == ["K > 16", "data is not zeros"]


def test_two_smallest_cases_of_one_bug_have_one_region_and_those_of_two_have_not() -> None:
    one = explained(lambda case: case.dtype != "float32", GroupedGemmCase((0,), dtype="bfloat16")).region
    same = explained(lambda case: case.dtype != "float32", GroupedGemmCase((0,), dtype="float16", N=3)).region
    assert one.merge(same).needs and one.merge(same).is_exact
    deep = explained(lambda case: case.E > 1 and case.K > 16, GroupedGemmCase((0, 0), K=17)).region
    wide = explained(lambda case: case.E > 1 and case.N > 16, GroupedGemmCase((0, 0), N=17)).region
    assert deep.merge(wide).needs and not deep.merge(wide).is_exact, "two experts alone are not what it takes"
    assert Region.of(one.plain()) == one


def test_the_second_call_of_a_relation_is_explained_by_its_own_case() -> None:
    starved = explained(lambda case: 0 in case.m_sizes and any(case.m_sizes), GroupedGemmCase((0, 1))).region
    inserted = GroupedGemmCase((2,), relation="empty expert inserted")
    assert is_explained(inserted, TRITON, [starved])
    assert not is_explained(dataclasses.replace(inserted, relation="repeated"), TRITON, [starved])
