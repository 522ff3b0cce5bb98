"""What a failure needs, and what does not matter to it: cases around the smallest one are tried, one field changed in each.

Hypothesis' explain phase says so of arguments, and a property has one, the case. Here it is said of each field, by trying every value that
the field may have, or a few where it may have any. What is true of all that fail, and not of some that pass, is what it ``needs``. Failures
of the same bucket that lack it have another cause.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from moefuzz.harness.base.case import FAR_AXES, Case, round_up
from moefuzz.harness.base.features import features, holding, thresholds
from moefuzz.harness.base.features import in_words as features_in_words
from moefuzz.harness.failures import Failure
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.judge import called
from moefuzz.kernels.kernel_config import KernelConfig

from .minimise import SEEDS, simpler_cases

_CONFIGS = [config for width in (32, 64) for config in (KernelConfig(width), KernelConfig(16, width), KernelConfig(16, 16, width))]
_MOST_EXPERTS = 64
_TOGETHER = 20
"""How many cases are tried in which several fields are changed."""
_LARGEST = 2
"""How many of the largest cases that failed are tried with other data, and how many seeds of each."""


@dataclass(frozen=True)
class Region:
    """Where a failure shows: what is true of every case tried that failed, and what of it each lacks that passed."""

    always_true: frozenset[str] = frozenset()
    missing_when_passing: frozenset[frozenset[str]] = frozenset()

    @property
    def needs(self) -> frozenset[str]:
        """What a case must have to fail so, as far as was tried; nothing where every case fails."""
        return frozenset().union(*self.missing_when_passing)

    @property
    def is_exact(self) -> bool:
        """Whether what it needs tells every case that failed from every case that passed."""
        return all(self.missing_when_passing)

    def covers(self, case: Case) -> bool:
        """Whether a case has all that the failure needs."""
        return self.needs <= features(case) | holding(case, self.needs)

    def merge(self, other: Region) -> Region:
        """The region of one cause for both, which it is if it tells what failed from what passed."""
        common = self.always_true & other.always_true
        return Region(common, frozenset(lacking & common for lacking in self.missing_when_passing | other.missing_when_passing))

    def plain(self) -> dict[str, Any]:
        """As JSON has it; ``of`` reads it."""
        return {"common": sorted(self.always_true), "lacking": sorted(map(sorted, self.missing_when_passing))}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Region:
        return cls(frozenset(plain["common"]), frozenset(map(frozenset, plain["lacking"])))

    def in_words(self) -> list[str]:
        return features_in_words(self.needs)


def is_explained(case: Case, target: Target, regions: Sequence[Region]) -> bool:
    """Whether one of the regions covers the case, or the second call of its relation."""
    return bool(regions) and any(region.covers(one) for one in called(case, target) for region in regions)


@dataclass(frozen=True)
class Explanation:
    """Of a smallest case: the fields that do not matter, and the region of its failure."""

    irrelevant: tuple[str, ...] = ()
    region: Region = Region()
    tried: int = 0  # so many cases around it


def explain(
    failure: Failure, fails: Callable[[Case], Failure | None], target: Target, *, seconds: float = 60.0, exclude: Sequence[Region] = ()
) -> Explanation:
    """Try cases around that of a failure; ``fails`` runs a case.

    Irrelevant are the fields that can have any other value that the target takes, and of sizes any larger one: the bucket stays the same.
    A field for which there was no time, or no other value, is left out. Cases ``exclude`` which a failure is explained are not tried,
    but for the question whether the data matter.
    """
    trials = _Trials(failure, fails, target, time.monotonic() + seconds, exclude)
    trials.change_each_field()
    trials.change_several_fields()
    if any(need.startswith("data is ") for need in trials.region.needs):
        trials.change_the_data()
    return Explanation(trials.irrelevant, trials.region, len(trials.seen) - 1)


class _Trials:
    """The cases around a smallest one that were tried: which failed in its bucket, which passed, and by field whether all failed."""

    def __init__(
        self, failure: Failure, fails: Callable[[Case], Failure | None], target: Target, stop: float, exclude: Sequence[Region]
    ) -> None:
        self.case, self.bucket, self.fails, self.target, self.stop, self.exclude = (
            failure.case, failure.bucket, fails, target, stop, exclude,
        )  # fmt: skip
        self.seen: dict[Case, Any] = {failure.case: failure.bucket}
        self.failed, self.passed = [failure.case], list[Case]()
        self.outcomes: dict[str, list[bool]] = {}

    @property
    def region(self) -> Region:
        """Where the failure shows, as far as was tried."""
        return _region(self.failed, self.passed)

    @property
    def irrelevant(self) -> tuple[str, ...]:
        """The fields that had other values, with all of which the case failed."""
        return tuple(name for name in _explained(self.case) if self.outcomes.get(name) and all(self.outcomes[name]))

    def change_each_field(self) -> None:
        """Try cases that differ in one field."""
        for name, case in itertools.chain(_others(self.case), _around(self.case)):
            if self._is_over():
                self.outcomes.get(name, []).append(False)
                return
            if self._is_apart(case):
                self.outcomes.setdefault(name, []).append(self._shown(case) == self.bucket)
                self._sort_in(name, case)

    def change_several_fields(self) -> None:
        """Try cases that differ in what several of those that failed differ in."""
        for case in _together(self.case, self.failed[1:]):
            if self._is_over():
                return
            if self._is_apart(case) and self._shown(case) == self.bucket:
                self.failed.append(case)

    def change_the_data(self) -> None:
        """Try other data on the smallest and the largest cases. What passed with data that fail did so by luck: they are mostly zeros."""
        for case in _with_other_data(self.failed):
            if self._is_over():
                return
            if case.data not in {one.data for one in self.failed} and self._is_within(case) and self._shown(case) == self.bucket:
                self.failed.append(case)
                self.passed = [one for one in self.passed if one.data != case.data]

    def _sort_in(self, name: str, case: Case) -> None:
        buckets = {self._shown(case)}
        if None in buckets:  # with these data it may have passed by luck
            buckets |= {self._shown(other) for other in _seeds(case)}
        if self.bucket in buckets:
            self.failed.append(case)
        elif buckets == {None} and name != "seed":  # another failure hides whether this one is there
            self.passed.append(case)

    def _shown(self, case: Case) -> Any:
        """The bucket in which the case fails, if it does."""
        if case not in self.seen:
            found = self.fails(case)
            self.seen[case] = found.bucket if found is not None else None
        return self.seen[case]

    def _is_over(self) -> bool:
        return time.monotonic() > self.stop

    def _is_within(self, case: Case) -> bool:
        return self.target.takes(case) and self.target.limit_on(case) == self.target.limit_on(self.case)

    def _is_apart(self, case: Case) -> bool:
        return self._is_within(case) and not is_explained(case, self.target, self.exclude)


def _region(failed: Sequence[Case], passed: Sequence[Case]) -> Region:
    of_smallest = thresholds(failed[0])

    def said(case: Case) -> frozenset[str]:
        return features(case) | holding(case, of_smallest)

    common = frozenset.intersection(*map(said, failed))
    return Region(common, frozenset(common - said(case) for case in passed))


def in_words(names: tuple[str, ...], case: Case) -> str:
    """What a report says of a case's irrelevant fields.

    >>> from moefuzz.harness.levels.grouped_gemm.case import GroupedGemmCase
    >>> in_words(("dtype", "seed", "K"), GroupedGemmCase((1,))), in_words((), GroupedGemmCase((1,)))
    ('any dtype, any seed, any larger K', '')
    """
    return ", ".join(f"any larger {name}" if name in case.tiles else f"any {name}" for name in names)


def _explained(case: Case) -> tuple[str, ...]:
    """The fields of which it is asked whether they matter."""
    return (*case.explained, *case.tiles)


def _others(case: Case) -> Iterator[tuple[str, Case]]:
    """Each explained field with other values, of sizes with larger ones."""
    for name in _explained(case):
        value = getattr(case, name)
        for choice in (value + 1, 2 * value + 1, value + 16) if name in case.tiles else SEEDS if name == "seed" else case.choices[name]:
            if choice != value and choice not in FAR_AXES:  # far: gigabytes for a word
                yield from _replaced(name, case, **{name: choice})


def _around(case: Case) -> Iterator[tuple[str, Case]]:
    """What is simpler in one step, which mostly passes, and what is larger in one, which mostly fails."""
    for simpler in simpler_cases(case):
        if simpler.seed == case.seed:
            yield "", simpler
    for rows in _other_rows(case.rows, case.topk) if case.rows else ():
        yield from _replaced("", case, **{case.rows_of: rows})
    for name in case.tiles:
        size = getattr(case, name)
        tile = round_up(size, 16)
        for larger in (size + 2, size + 3, size + 4, size + 15, 2 * size, 2 * size + 2, tile + 8, tile + 16, round_up(size + 1, 64), 130):
            yield from _replaced("", case, **{name: larger})
    for config in (*_CONFIGS, None) if "config" in case.choices else ():
        yield from _replaced("", case, config=config)
    for fields in case.neighbours():
        yield from _replaced("", case, **fields)


def _other_rows(sizes: tuple[int, ...], topk: int) -> Iterator[tuple[int, ...]]:
    """Yield loads with an expert more before and behind, with more rows, with as many for other experts, and turned round."""
    yield from ((*sizes, more) for more in (0, topk, 5 * topk))
    yield from ((more, *sizes) for more in (0, topk, 5 * topk))
    for e, size in enumerate(sizes):
        yield from ((*sizes[:e], size + more, *sizes[e + 1 :]) for more in (topk, 2 * topk, 15 * topk, 16 * topk))
    yield from ((*sizes[:e], round_up(size + 1, 64 * topk), *sizes[e + 1 :]) for e, size in enumerate(sizes))
    yield from ((*sizes[:e], size // 2, size - size // 2, *sizes[e + 1 :]) for e, size in enumerate(sizes))
    yield (topk,) * min(sum(sizes) // topk, _MOST_EXPERTS)
    yield tuple(size + topk for size in sizes)
    yield sizes[::-1]


def _together(case: Case, failed: list[Case]) -> Iterator[Case]:
    """Cases that differ in what several of those that failed differ in."""
    chance = random.Random(0)  # noqa: S311
    for _ in range(_TOGETHER if len(failed) > 1 else 0):
        changed: dict[str, Any] = {}
        for other in chance.sample(failed, min(3, len(failed))):
            values = ((field.name, getattr(other, field.name)) for field in dataclasses.fields(case))
            changed |= {name: value for name, value in values if value != getattr(case, name)}
        for _, together in _replaced("", case, **changed):
            yield together


def _with_other_data(failed: Sequence[Case]) -> Iterator[Case]:
    """The smallest case with other data, and the largest that failed too: where a case is small, a sum is soon 0 by luck."""
    largest = sorted(failed, key=_volume, reverse=True)[:_LARGEST]
    for recipe in failed[0].choices.get("data", ()):
        for case in (failed[0], *largest):
            for seed in dict.fromkeys((case.seed, *SEEDS[:_LARGEST])):
                for _, other in _replaced("data", case, data=recipe, seed=seed):
                    yield other


def _volume(case: Case) -> int:
    sizes: list[int] = [getattr(case, name) for name in case.tiles]
    return math.prod(sizes) * (1 + sum(case.rows))


def _seeds(case: Case) -> Iterator[Case]:
    yield from (dataclasses.replace(case, seed=seed) for seed in dict.fromkeys((case.seed, *SEEDS)))


def _replaced(name: str, case: Case, **fields: Any) -> Iterator[tuple[str, Case]]:
    try:
        yield name, dataclasses.replace(case, **fields)
    except ValueError:  # a combination that no case can have
        return
