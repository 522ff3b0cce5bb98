"""Where a failure was raised: what guarded the memory of the target, and the device it ran on. Another process may print the failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from moefuzz.harness.base.case import Case
from moefuzz.harness.base.device import describe
from moefuzz.harness.base.versions import versions
from moefuzz.harness.failures import Failure
from moefuzz.harness.failures.facts import Origin
from moefuzz.harness.targets import Target
from moefuzz.harness.targets.registry import is_found_by_name
from moefuzz.kernels import triton_interpreter


@contextmanager
def recorded(case: Case, target: Target) -> Iterator[None]:
    """Set ``origin`` on a Failure that leaves the block, unless another process has set it already."""
    __tracebackhide__ = True
    try:
        yield
    except Failure as failure:
        failure.origin = failure.origin or _here(case, target)
        raise


def _here(case: Case, target: Target) -> Origin:
    try:
        on = describe()
    except RuntimeError as error:  # the device may no longer answer
        on = f"a device that cannot be asked: {error}".partition("\n")[0]
    return Origin(guards_in_words(case), on, versions(), is_found_by_name(target))


def guards_in_words(case: Case) -> str:
    """Return, as words, what guards the memory of a target in this process: see ``harness/execution``.

    >>> from moefuzz.harness.levels.grouped_gemm.case import GroupedGemmCase
    >>> guards_in_words(GroupedGemmCase((1,)))
    "inputs guarded, torch's allocations guarded and poisoned, reads watched"
    """
    other = "reads watched" if triton_interpreter.in_force() else "freed blocks poisoned for what operators take; reads not watched"
    return ", ".join(filter(None, (case.guarded, "torch's allocations guarded and poisoned", other)))
