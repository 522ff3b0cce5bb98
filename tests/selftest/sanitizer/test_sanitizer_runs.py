"""What is judged at the end of a run, of what can still be reached, and at the end of a launch, by running some programs again."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from moefuzz.harness import sanitize
from moefuzz.kernels import triton_interpreter
from moefuzz.kernels.triton_interpreter.launches import Launch

from .zoo import right
from .zoo.expectations import numbers

pytestmark = pytest.mark.skipif(not triton_interpreter.in_force(), reason="the interpreter is not in force: there is a GPU")


def half_written() -> torch.Tensor:
    out = torch.empty(2, 4)
    right.add[(1,)](numbers(4), numbers(4), out, 4)
    return out


class HalfGradient(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(_: Any, *__: torch.Tensor) -> torch.Tensor:
        return half_written()


def gradient() -> torch.Tensor:
    x = torch.ones(2, 4, requires_grad=True)
    HalfGradient.apply(x).sum().backward()
    return x


REACHED = {  # of a buffer whose second row nobody writes
    "all of it": (half_written, 4),
    "a view": (lambda: half_written().view(torch.int32).T, 4),
    "an array": (lambda: half_written().numpy(), 4),
    "itself and a slice": (lambda: (out := half_written(), out[:1]), 4),
    "every second column": (lambda: half_written()[:, ::2], 2),
    "the first row": (lambda: half_written()[:1], 0),
    "the first row as bytes": (lambda: half_written().view(torch.uint8)[0, 1:], 0),
    "a view of a slice": (lambda: half_written()[:1].T[1:], 0),
    "a graph": (lambda: half_written() * torch.ones(2, 4, requires_grad=True), 4),
    "a gradient": (gradient, 4),
}


@pytest.mark.parametrize("name", REACHED)
def test_what_nobody_can_reach_need_not_be_written(name: str) -> None:
    launch, count = REACHED[name]
    with sanitize() as findings:
        held = launch()
    assert held is not None and [(finding.kind, finding.count) for finding in findings] == [("NotWritten", count)] * bool(count)


def test_launches_of_several_threads_keep_apart() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def doubled(_: int) -> bool:
        out = torch.empty(13)
        right.add[(4,)](numbers(13), numbers(13), out, 13, B=4)
        return torch.equal(out, 2 * numbers(13))

    try:
        with ThreadPoolExecutor(3) as pool, sanitize() as findings:
            assert all(pool.map(doubled, range(30)))
    finally:
        sys.setswitchinterval(before)
    assert findings == []


RUN_AGAIN = {
    "the last one alone has dead lanes": (lambda: right.add[(4,)](numbers(13), numbers(13), torch.empty(13), 13, B=4), [(3, 0, 0)]),
    "in place": (lambda: right.double_in_place[(2,)](numbers(7), 7, B=4), [(0, 0, 0), (1, 0, 0)]),
    "none has": (lambda: right.add[(2,)](numbers(8), numbers(8), torch.empty(8), 8, B=4), None),
}


@pytest.mark.parametrize("name", RUN_AGAIN)
def test_only_programs_that_may_matter_run_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launch, expected = RUN_AGAIN[name]
    again, ran = Launch.again, []

    def noted(self: Launch, watcher: Any, programs: Any) -> None:
        ran.append(programs)
        again(self, watcher, programs)

    monkeypatch.setattr(Launch, "again", noted)
    with sanitize() as findings:
        launch()
    assert ran == ([] if expected is None else [expected]) and findings == []


def test_a_hook_runs_once_for_a_launch() -> None:
    out, seen = torch.empty(13), []

    def hook(*_: Any, **__: Any) -> None:
        seen.append(out.zero_())

    right.add.add_pre_run_hook(hook)
    try:
        with sanitize() as findings:
            right.add[(4,)](numbers(13), numbers(13), out, 13, B=4)
    finally:
        right.add.pre_run_hooks.remove(hook)
    assert findings == [] and len(seen) == 1 and out.tolist() == (2 * numbers(13)).tolist()
