"""Coverage of a run: each case has labels, a few for each of its fields; a run counts which labels and pairs of labels are new."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from moefuzz.harness.base.case import Case
from moefuzz.kernels.kernel_config import FLAGS, KernelConfig

UP_TO = (1, 2, 4, 8, 16, 32)
LABELS: dict[str, tuple[str, ...]] = {
    "experts": ("1", "2", "3-4", "5-8", "9-16", "17-32", "33 or more"),
    "topk": ("1", "2", "3-4", "5-8"),
    "loads": ("no rows", "one takes all", "some starve", "even", "skewed"),
    "M": ("none", "whole tiles", "one over", "one short", "in between", "more than 256"),  # rows of an expert
    "N": ("whole tiles", "one over", "one short", "in between"),
    "K": ("whole tiles", "one over", "one short", "in between"),
    "hidden_size": ("whole tiles", "one over", "one short", "in between"),
    "moe_intermediate_size": ("whole tiles", "one over", "one short", "in between"),
}
"""The labels that a run can reach, by field; the labels of all other fields are their values."""

Label = tuple[str, str]


def labels(case: Case) -> list[Label]:
    """Return the pairs (field, label) that a case covers; field M has one for each different kind of load of its experts.

    >>> from moefuzz.harness.levels.grouped_gemm.case import GroupedGemmCase
    >>> [said for said in labels(GroupedGemmCase((0, 17), N=31, K=16)) if said[0] in ("experts", "loads", "M", "N", "K")]
    [('experts', '2'), ('loads', 'one takes all'), ('M', 'none'), ('M', 'one over'), ('N', 'one short'), ('K', 'whole tiles')]
    """
    return list(_labels(case))


class Novelty:
    """The labels and pairs of labels covered so far, by target."""

    def __init__(self) -> None:
        self._met: set[tuple[object, ...]] = set()

    def new_labels(self, target: str, said: list[Label]) -> tuple[int, bool]:
        """Return how many labels and pairs are new, and whether any single label is; then count them as covered."""
        alone = {(target, label) for label in said} - self._met
        before = len(self._met)
        self._met |= alone
        self._met.update((target, *pair) for pair in itertools.combinations(said, 2))
        return len(self._met) - before, bool(alone)


def _labels(case: Case) -> Iterator[Label]:
    config = getattr(case, "config", None)
    if case.rows:
        yield "experts", _binned(len(case.rows))
        yield "topk", _binned(case.topk)
        yield "loads", _skew(case.rows)
        yield from dict.fromkeys(("M", _remainder(load, getattr(config, "block_m", 16))) for load in case.rows)
        if max(case.rows) > 256:
            yield "M", "more than 256"
    for name, block in case.tiles.items():
        yield name, _remainder(getattr(case, name), getattr(config, block, 16))
    for name in case.choices:
        if isinstance(value := getattr(case, name), str):
            yield name, value or "none"
    if "config" in case.choices:
        yield "config", "the target's own" if config is None else _in_words(config)


def _in_words(config: KernelConfig) -> str:
    flags = "".join(f", {name}" for name in FLAGS if getattr(config, name))
    return f"{config.block_m}x{config.block_n}x{config.block_k}{flags}"


def _binned(count: int) -> str:
    low = 0
    for high in UP_TO:
        if count <= high:
            return str(high) if high == low + 1 else f"{low + 1}-{high}"
        low = high
    return f"{low + 1} or more"


def _skew(loads: tuple[int, ...]) -> str:
    busy = [load for load in loads if load]
    if not busy:
        return "no rows"
    if len(busy) == 1 < len(loads):
        return "one takes all"
    if len(busy) < len(loads):
        return "some starve"
    return "even" if max(busy) <= 2 * min(busy) else "skewed"


def _remainder(size: int, block: int) -> str:
    if not size:
        return "none"
    return {0: "whole tiles", 1: "one over", block - 1: "one short"}.get(size % block, "in between")
