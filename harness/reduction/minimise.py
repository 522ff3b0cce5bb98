"""Case-level minimising: the simplest case that still shows a failure of the same bucket.

Hypothesis shrinks the choices that a strategy made, one at a time; what took two choices to hide, as a smaller size together with another
data seed, it leaves standing. Here a step simplifies one field of the case and may take another seed along.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

from moefuzz.harness.failures import Failure
from moefuzz.harness.levels import cases
from moefuzz.harness.levels.cases import Case
from moefuzz.kernels.kernel_config import KernelConfig

SEEDS = (0, 1, 2, 3)

_CHOICES: dict[str, tuple[Any, ...]] = {
    "relation": ("",),
    "topk": (1, 2, 3, 4),
    "permute": cases.PERMUTES,
    "fuse_mul_post": (False,),
    "is_first_gemm": (True,),
    "order": cases.ORDERS,
    "x_layout": cases.FAR_LAYOUTS,
    "w_layout": cases.FAR_LAYOUTS,
    "dy_layout": cases.FAR_DY_LAYOUTS,
    "dtype": cases.DTYPES,
    "data": cases.RECIPES,
    "grads": (*cases.GRADS, *cases.EXPERTS_GRADS),
    "act": cases.ACTS,
    "logits": cases.LOGIT_SIGNS,
    "norm_topk_prob": (True,),
    "permute_x": (False,),
    "permute_y": (False,),
    "config": (KernelConfig(),),
}


def choices_of(name: str) -> tuple[Any, ...]:
    """What a field of a case is chosen from, the simplest first."""
    return _CHOICES[name]


def minimise(failure: Failure, fails: Callable[[Case], Failure | None], *, seconds: float = 60.0) -> Failure:
    """The failure on the simplest case that can be reached in single steps; ``fails`` runs a case. Ends after ``seconds`` at the latest.

    Every step that is taken makes one field simpler, and a field that pays for it (the seed; m_sizes for topk) pays a bounded amount
    only, so there is an end.
    """
    stop = time.monotonic() + seconds
    best, improved = failure, True
    tried: set[Case] = {failure.case}
    while improved:
        improved = False
        for candidate in simpler_cases(best.case):
            if time.monotonic() > stop:
                return best
            if candidate in tried:
                continue
            tried.add(candidate)
            found = fails(candidate)
            if found is not None and found.bucket == failure.bucket:
                best, improved = found, True
                break
    return best


def simpler_cases(case: Case) -> Iterator[Case]:
    """Valid cases with one field simpler, each with the case's seed and with the first few others; the largest steps first.

    >>> from moefuzz.harness.levels.cases import GroupedGemmCase
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
    rows = case.rows_of
    sizes: tuple[int, ...] = getattr(case, rows)
    for e in range(len(sizes)):
        if len(sizes) > 1:
            yield {rows: sizes[:e] + sizes[e + 1 :]}
    for e, size in enumerate(sizes):
        for smaller in _smaller(size, 0):
            yield {rows: (*sizes[:e], smaller, *sizes[e + 1 :])}
    for e in range(len(sizes) - 1):
        yield {rows: (*sizes[:e], sizes[e] + sizes[e + 1], *sizes[e + 2 :])}
    for e, f in ((e, f) for e in range(len(sizes)) for f in range(len(sizes)) if e != f and sizes[e] and sizes[f]):
        yield {rows: tuple(size - (i in (e, f)) for i, size in enumerate(sizes))}  # two at once keep a multiple of topk
    for name, smallest in (("N", 1), ("K", 1), ("tail_rows", 0), ("moe_intermediate_size", 1), ("hidden_size", 1)):
        for smaller in _smaller(getattr(case, name, smallest), smallest):
            yield {name: smaller}
    for name, choices in _CHOICES.items():
        default = _default(case, name)
        if hasattr(case, name) and getattr(case, name) != default:
            value = getattr(case, name)
            ordered = (default, *(choice for choice in choices if choice != default))
            for simpler in ordered[: ordered.index(value)] if value in ordered else ordered:
                yield {name: simpler}
    if tail := getattr(case, "tail_rows", 0):
        yield {rows: (*sizes[:-1], sizes[-1] + tail), "tail_rows": 0}
    # Rows that no expert owns can keep the number of rows a multiple of topk.
    if getattr(case, "topk", 1) > 1 and rows == "m_sizes":
        for simpler in range(1, case.topk):
            yield {"topk": simpler, "tail_rows": 0, rows: (*sizes[:-1], sizes[-1] + -sum(sizes) % simpler)}


def _default(case: Case, name: str) -> Any:
    return next((field.default for field in dataclasses.fields(case) if field.name == name), None)


def _smaller(value: int, smallest: int) -> Iterator[int]:
    """Candidates below ``value``, the largest step first: the smallest, tile edges, the half, one less."""
    tiles = (value % 16, value % 16 + 16, value - 16)  # what a remainder decides
    candidates = {smallest, smallest + 1, *tiles, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, value // 2, value - 1}
    yield from sorted(candidate for candidate in candidates if smallest <= candidate < value)
