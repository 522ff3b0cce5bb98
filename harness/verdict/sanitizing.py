"""Runs of a target under the memory sanitizer: what it finds is a failure like any other, drawn, minimised and reported."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from moefuzz.harness.base import ambient
from moefuzz.harness.failures import Failure, misuse
from moefuzz.harness.failures.kinds import MISUSES
from moefuzz.harness.levels.cases import FAR_AXES, Case, GroupedGemmCase
from moefuzz.harness.targets import Target

if TYPE_CHECKING:
    from moefuzz.harness.sanitizer import Finding

Result = TypeVar("Result")


@contextmanager
def sanitizing(wanted: bool = True) -> Iterator[None]:
    """While it lasts, ``check`` runs targets under the sanitizer, or does not."""
    with ambient.using(sanitize=wanted):
        yield


def why_not(what: str = "the sanitizer") -> str:
    """Why accesses of Triton kernels cannot be watched here, in one line; empty if they can."""
    from moefuzz.harness.base.device import device
    from moefuzz.kernels import triton_interpreter

    if device().type == "cpu" and triton_interpreter.in_force():
        return ""
    return f"{what} needs Triton's interpreter: set CUDA_VISIBLE_DEVICES= and TRITON_INTERPRET=1"


def run_watched(run: Callable[[], Result], case: Case, target: Target) -> Result:
    """What ``run`` returns. Raises the failure that its worst misuse of memory is, rather than what came of it."""
    __tracebackhide__ = True
    if not ambient.current().sanitize or _is_far(case):
        return run()
    from moefuzz.harness.sanitizer import sanitize

    with sanitize() as findings:
        try:
            result = run()
        except Failure as failure:
            if findings:
                raise _failure(findings, case, target) from failure
            raise
        findings.check_written()
    if findings:
        raise _failure(findings, case, target)
    return result


def _failure(findings: list[Finding], case: Case, target: Target) -> Failure:
    worst = min(findings, key=lambda finding: MISUSES.index(finding.kind))
    first, *further = (line.strip() for line in str(worst).splitlines())
    said = "; ".join([first.removeprefix(f"{worst.kind} in {worst.kernel}").lstrip(":, "), *further, *_place(worst, case, target)])
    return misuse(case, target.name, worst.kind, f"{worst.kernel}.{worst.argument}", said)


def _place(finding: Finding, case: Case, target: Target) -> Iterator[str]:
    """The expert, and the tile of its rows, to which an element belongs where its argument's shape tells."""
    element, shape = finding.element, finding.shape
    if element and len(shape) == 3 and shape[0] == len(_loads(case)):
        yield f"expert {element[0]}"
    elif element and isinstance(case, GroupedGemmCase) and len(shape) == 2 and shape[0] == case.M and case.permute == "none":
        ends = list(itertools.accumulate(case.m_sizes))
        expert = bisect.bisect_right(ends, element[0])
        if expert == case.E:
            yield "a row of no expert"
            return
        row, tiles = element[0] - ([0, *ends])[expert], target.tiles(case)
        yield f"expert {expert}, its row {row}" + (f", row tile {row // tiles.block_m}" if tiles else "")


def _is_far(case: Case) -> bool:
    """Whether a tensor spans gigabytes, which guard zones and states of bytes would touch."""
    return isinstance(case, GroupedGemmCase) and not {case.x_layout, case.w_layout, case.dy_layout}.isdisjoint(FAR_AXES)


def _loads(case: Case) -> tuple[int, ...]:
    return case.m_sizes if isinstance(case, GroupedGemmCase) else case.loads
