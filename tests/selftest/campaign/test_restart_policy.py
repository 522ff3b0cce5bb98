"""Whether a worker whose process ended is started again."""

from __future__ import annotations

import itertools

import pytest

from moefuzz.harness.base.exit_codes import INFRASTRUCTURE, USAGE
from moefuzz.harness.campaign.restart_policy import MOST_DEATHS, Next, RestartPolicy

STATUSES = (0, 1, -9, USAGE, INFRASTRUCTURE)


@pytest.mark.parametrize(
    ("status", "time_left", "work_left", "follows"),
    [
        (0, False, False, Next.DONE),
        (0, False, True, Next.DONE),  # it reduced what it could
        (0, True, False, Next.RESTART),
        (-9, True, False, Next.RESTART),
        (-9, False, True, Next.RESTART),
        (-9, False, False, Next.DONE),
        (USAGE, True, True, Next.RETIRE),
        (USAGE, False, False, Next.RETIRE),
    ],
)
def test_what_follows_the_first_end(status: int, time_left: bool, work_left: bool, follows: Next) -> None:
    for made_progress in (False, True):
        policy = RestartPolicy()
        assert policy.ended(status, made_progress, time_left=time_left, work_left=work_left) is follows
        assert policy.deaths == (status != 0 or time_left) and policy.retired == (follows is Next.RETIRE)


def test_a_worker_without_progress_is_retired_at_the_fifth_death() -> None:
    policy = RestartPolicy()
    ends = [policy.ended(-9, False, time_left=True, work_left=False) for _ in range(MOST_DEATHS)]
    assert ends == [Next.RESTART] * 4 + [Next.RETIRE] and policy.retired


def test_progress_forgives_the_deaths_before_it() -> None:
    policy = RestartPolicy()
    for made_progress in [*[False] * (MOST_DEATHS - 1), True] * 3:
        assert policy.ended(-9, made_progress, time_left=True, work_left=False) is Next.RESTART
    assert policy.deaths == 3 * MOST_DEATHS and policy.barren == 0


def test_an_end_in_time_counts_as_no_death_and_forgives_none() -> None:
    policy = RestartPolicy(deaths=4, barren=4)
    assert policy.ended(0, True, time_left=False, work_left=True) is Next.DONE
    assert (policy.deaths, policy.barren, policy.retired) == (4, 4, False)


def test_a_worker_that_died_is_started_again_or_retired_while_time_is_left() -> None:
    for status, made_progress, work_left in itertools.product(STATUSES, (False, True), (False, True)):
        assert RestartPolicy().ended(status, made_progress, time_left=True, work_left=work_left) is not Next.DONE
