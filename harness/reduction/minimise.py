"""Minimisation of cases: find the simplest case that still fails in the same bucket.

Hypothesis shrinks the choices that a strategy made, one at a time, so it misses a simpler case that needs two changes at once, as of a size
and of the data seed. Here a step simplifies one field of the case, and may change the seed with it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from moefuzz.harness.base.case import Case
from moefuzz.harness.failures import Failure

from .large import MANY, from_large, is_large

SEEDS = (0, 1, 2, 3)


def minimise(failure: Failure, fails: Callable[[Case], Failure | None], *, seconds: float = 60.0) -> Failure:
    """Return the failure on the simplest case within reach of single steps; ``fails`` runs a case. Ends after ``seconds`` at the latest.

    Every step makes one field simpler. Another field (the seed; m_sizes for topk) may get less simple for it, but only by a bounded amount,
    so the search ends.
    """
    stop = time.monotonic() + seconds
    best, improved = failure, True
    tried: set[Case] = {failure.case}

    def is_smaller(candidate: Case) -> bool:
        nonlocal best
        if candidate in tried or time.monotonic() > stop:
            return False
        tried.add(candidate)
        found = fails(candidate)
        if found is None or found.bucket != failure.bucket:
            return False
        best = found
        return True

    if is_large(failure.case):
        from_large(failure.case, is_smaller)
    while improved:
        improved = False
        for candidate in simpler_cases(best.case):
            if time.monotonic() > stop:
                return best
            if is_smaller(candidate):
                improved = True
                break
    return best


def simpler_cases(case: Case) -> Iterator[Case]:
    """Yield valid cases with one field simpler, each with the case's seed and with the first few others; the largest steps first.

    >>> from moefuzz.harness.levels.grouped_gemm.case import GroupedGemmCase
    >>> [case for case in simpler_cases(GroupedGemmCase((1,), K=2)) if case.seed == 0]
    [GroupedGemmCase(m_sizes=(0,), K=2), GroupedGemmCase(m_sizes=(1,))]
    """
    for step in _steps(case):
        for seed in dict.fromkeys((case.seed, *SEEDS)):
            try:
                yield dataclasses.replace(case, **{**step, "seed": seed})
            except ValueError:  # a combination that no case can have
                break
    for seed in range(min(case.seed, len(SEEDS))):
        yield dataclasses.replace(case, seed=seed)


def _steps(case: Case) -> Iterator[dict[str, Any]]:
    yield from ({case.rows_of: rows} for rows in _simpler_rows(case.rows))
    for name, smallest in case.sizes.items():
        yield from ({name: smaller} for smaller in _smaller(getattr(case, name), smallest))
    for name in case.choices:
        yield from ({name: simpler} for simpler in _simpler_choices(case, name))
    yield from case.simpler()


def _simpler_rows(sizes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield loads with one expert less, with fewer rows for one, with two experts merged, and with one row less for each of two."""
    experts = _some_experts(sizes)
    if len(sizes) > 1:
        yield from (sizes[:e] + sizes[e + 1 :] for e in experts)
    yield from ((*sizes[:e], smaller, *sizes[e + 1 :]) for e in experts for smaller in _smaller(sizes[e], 0))
    yield from ((*sizes[:e], sizes[e] + sizes[e + 1], *sizes[e + 2 :]) for e in experts if e + 1 < len(sizes))
    for e, f in ((e, f) for e in experts for f in experts if e != f and sizes[e] and sizes[f]):
        yield tuple(size - (i in (e, f)) for i, size in enumerate(sizes))  # two rows at once may keep the sum a multiple of topk


def _some_experts(sizes: tuple[int, ...]) -> Sequence[int]:
    """Return all experts; of many the first and the last ones, and those that have a load first or last."""
    if len(sizes) <= MANY:
        return range(len(sizes))
    count = len(sizes)
    values = sorted(set(sizes), key=sizes.count)[: MANY // 2]
    first, last = ({order.index(value) for value in values} for order in (sizes, sizes[::-1]))
    return sorted({0, 1, count - 2, count - 1, *first, *(count - 1 - e for e in last)})


def _simpler_choices(case: Case, name: str) -> Sequence[Any]:
    """Return the values of a field that are simpler than the case's: its default, then those before it in the list."""
    value, default = getattr(case, name), _default(case, name)
    if value == default:
        return ()
    ordered = (default, *(choice for choice in case.choices[name] if choice != default))
    return ordered[: ordered.index(value)] if value in ordered else ordered


def _default(case: Case, name: str) -> Any:
    return next((field.default for field in dataclasses.fields(case) if field.name == name), None)


def _smaller(value: int, smallest: int) -> Iterator[int]:
    """Yield candidates below ``value``, the largest step first: the smallest, tile edges, the half, one less."""
    tiles = (value % 16, value % 16 + 16, value - 16)  # the same remainder, on which a failure may depend
    candidates = {smallest, smallest + 1, *tiles, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, value // 2, value - 1}
    yield from sorted(candidate for candidate in candidates if smallest <= candidate < value)
