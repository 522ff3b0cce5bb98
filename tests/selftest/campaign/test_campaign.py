"""A fuzz run: what it finds is reported once, also where a kernel fails only now and then."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from typer.testing import CliRunner

from moefuzz.harness.campaign import reducing
from moefuzz.harness.campaign.campaign import Campaign, fuzz
from moefuzz.harness.campaign.run_folder import RunFolder
from moefuzz.harness.campaign.turn import Turn
from moefuzz.harness.cli import commands
from moefuzz.harness.failures import Failure
from moefuzz.harness.levels import layouts
from moefuzz.harness.levels.cases import Case, GroupedGemmCase
from moefuzz.harness.reduction import reduce
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.check import failure_of
from moefuzz.kernels.grouped_gemm import grouped_gemm
from moefuzz.kernels.reference import grouped_gemm_reference
from moefuzz.strategies.regimes import any_cases, exact_cases
from moefuzz.tests.selftest.support.strategy_checks import found_by_fuzzing

SMALL = GroupedGemmCase(m_sizes=(2, 3), N=4, K=4)
"""Whole numbers: one more is wrong, which beside wide data it need not be."""


def found(target: Target, seconds: float = 6.0, regime: Any = any_cases) -> list[Failure]:
    return list(found_by_fuzzing(target, seconds, regime))


def test_a_failure_that_does_not_come_back_is_reported_as_not_deterministic() -> None:
    failed: list[bool] = []

    def once(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
        Y = grouped_gemm_reference(X, W, m_sizes, 1)
        if Y.numel() and not failed:
            failed.append(True)
            return Y + 1
        return Y

    failures = found(Target("once", once), 0.5, lambda target: st.just(SMALL))
    assert [type(failure).__name__ for failure in failures] == ["NonDeterministic_Y"]
    assert "but not when the case was run again" in str(failures[0])


def test_a_right_kernel_is_never_reported() -> None:
    assert found(Target("twin", lambda X, W, m_sizes: grouped_gemm_reference(X, W, m_sizes, 1)), 2.0) == []


@pytest.fixture
def interruptible() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job ignores
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_while_minimising_keeps_the_smallest_case_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reducing, "explain", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    wrong = Target("wrong", lambda X, W, m_sizes: grouped_gemm_reference(X, W, m_sizes, 1) + 1)
    run = Campaign(RunFolder(tmp_path), [wrong], {"grouped_gemm": {"exact": exact_cases}})
    with pytest.raises(KeyboardInterrupt):
        list(run.steps(time.monotonic() + 60))
    (left,) = run.unfinished()
    assert left.failure is not None and left.failure.case == GroupedGemmCase((1,)) and left.failure.mismatch is not None
    page = (tmp_path / "reports" / str(left.found.report) / "report.md").read_text()
    assert "minimising it was interrupted" in page and "case      GroupedGemmCase(m_sizes=(1,))" in page


def test_shrinking_ends_after_its_time_with_the_smallest_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Case] = []
    monkeypatch.setattr(reduce, "failure_of", lambda case, target: tried.append(case) or failure_of(case, target))  # type: ignore[func-returns-value]
    monkeypatch.setattr(reducing, "SECONDS", 0.0)
    monkeypatch.setattr(reduce, "minimise", lambda failure, fails, seconds: failure)
    wrong = Target("wrong", lambda X, W, m_sizes: grouped_gemm_reference(X, W, m_sizes, 1) + (len(X) > 5))
    failure = next(found_by_fuzzing(wrong, 20.0, exact_cases))
    assert type(failure).__name__ == "WrongValue_Y" and set(tried) == {failure.case}, "no other case is tried"


def test_the_same_seed_draws_the_same_cases() -> None:
    def drawn(seed: str) -> list[list[int]]:
        met: list[list[int]] = []

        def noting(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
            met.append(m_sizes.tolist())
            return grouped_gemm_reference(X, W, m_sizes, 1)

        next(iter(fuzz([Target("noting", noting)], 20.0, {"grouped_gemm": {"exact": exact_cases}}, seed=seed)))
        return met[:8]  # the time that is up may end a turn sooner

    first = drawn("a")
    assert first == drawn("a") != drawn("b")


def test_inputs_that_the_device_cannot_hold_are_passed_by_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "_CROSSING", 2**60)
    both = st.sampled_from([SMALL, dataclasses.replace(SMALL, x_layout="far")])
    turn = next(iter(fuzz([Target("triton", grouped_gemm)], 5.0, {"grouped_gemm": {"far": lambda target: both}})))
    assert isinstance(turn, Turn) and turn.no_room > 0 and turn.examples > 0 and turn.failing == 0
    done = CliRunner().invoke(commands.app, ["replay", "--no-isolate", repr(dataclasses.replace(SMALL, x_layout="far"))])
    assert done.exit_code == 2 and "moefuzz: can't allocate memory" in done.stderr
