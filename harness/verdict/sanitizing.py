"""Runs of a target under the memory sanitizer. A misuse of memory that it finds is a failure like any other, minimised and reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from moefuzz.harness.base import ambient
from moefuzz.harness.base.case import Case
from moefuzz.harness.failures import Failure, misuse
from moefuzz.harness.failures.kinds import MISUSES
from moefuzz.harness.targets import Target

if TYPE_CHECKING:
    from moefuzz.harness.sanitizer import Finding

Result = TypeVar("Result")


@contextmanager
def sanitizing(wanted: bool = True) -> Iterator[None]:
    """Make ``check`` run targets under the sanitizer, or without it, within the block."""
    with ambient.using(sanitize=wanted):
        yield


def why_not(what: str = "the sanitizer") -> str:
    """Return in one line why accesses of Triton kernels cannot be watched here; empty if they can."""
    from moefuzz.harness.base.device import device
    from moefuzz.kernels import triton_interpreter

    if device().type == "cpu" and triton_interpreter.in_force():
        return ""
    return f"{what} needs Triton's interpreter: set CUDA_VISIBLE_DEVICES= and TRITON_INTERPRET=1"


def run_watched(run: Callable[[], Result], case: Case, target: Target) -> tuple[Result, Failure | None]:
    """Return what ``run`` returns, and the failure for its worst misuse of memory. Raises that failure rather than one that it caused."""
    __tracebackhide__ = True
    if not ambient.current().sanitize or case.is_far:
        return run(), None
    from moefuzz.harness.sanitizer import sanitize

    with sanitize() as findings:
        try:
            result = run()
        except Failure as failure:
            if findings:
                raise _failure(findings, case, target) from failure
            raise
        findings.check_written()
    return result, _failure(findings, case, target) if findings else None


def _failure(findings: list[Finding], case: Case, target: Target) -> Failure:
    worst = min(findings, key=lambda finding: MISUSES.index(finding.kind))
    first, *further = (line.strip() for line in str(worst).splitlines())
    said = "; ".join([first.removeprefix(f"{worst.kind} in {worst.kernel}").lstrip(":, "), *further, *_place(worst, case, target)])
    return misuse(case, target.name, worst.kind, f"{worst.kernel}.{worst.argument}", said)


def _place(finding: Finding, case: Case, target: Target) -> Iterator[str]:
    """Yield the expert, and the tile of its rows, to which an element belongs, where the shape of its argument determines them."""
    found = case.expert_of(finding.shape, finding.element) if finding.element else None
    if found is None:
        return
    (expert, row), tiles = found, target.tiles(case)
    if row < 0:
        yield f"expert {expert}"
    elif expert == len(case.rows):
        yield "a row of no expert"
    else:
        yield f"expert {expert}, its row {row}" + (f", row tile {row // tiles.block_m}" if tiles else "")
