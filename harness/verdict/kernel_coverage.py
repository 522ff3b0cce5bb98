"""The lines, branches and masks of its Triton kernels that each target reached, over all cases that ``check`` ran."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from moefuzz.harness.base import ambient

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rich.table import Table

    from moefuzz.harness.sanitizer.coverage import Coverage

Covered = dict[str, "Coverage"]
"""By target."""


@contextmanager
def covering(into: Covered | None) -> Iterator[None]:
    """Make ``check`` add to ``into`` what kernels reach, in this process or a worker, within the block; with None, collect nothing."""
    with ambient.using(coverage=into is not None, reached=into):
        yield


def noted(target: str) -> AbstractContextManager[Any]:
    """Return a context manager for a run of a target, which adds what its kernels reach."""
    into: Covered | None = ambient.current().reached
    if into is None:
        return nullcontext()
    from moefuzz.harness.sanitizer.coverage import Coverage, coverage

    return coverage(into.setdefault(target, Coverage()))


def add(others: Covered) -> None:
    """Add what kernels reached in another process."""
    into: Covered | None = ambient.current().reached
    if into is None:
        return
    from moefuzz.harness.sanitizer.coverage import Coverage

    for target, other in others.items():
        into.setdefault(target, Coverage()).add(other.functions.values())


@contextmanager
def printed(*, wanted: bool) -> Iterator[None]:
    """Collect coverage within the block, if it is wanted, and print it at the end."""
    from rich.console import Console

    reached: Covered = {}
    with covering(reached if wanted else None):
        yield
    for table in tables(reached):
        Console().print(table)


def tables(covered: Covered) -> Iterator[Table | str]:
    """Yield a table for each target."""
    for target, reached in covered.items():
        yield reached.table(f"reached in {target}") if reached.functions else f"reached in {target}: no Triton kernel ran\n"
