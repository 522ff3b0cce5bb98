"""The conditions that a failure needs, and the fields that do not matter to it, found on cases near the smallest one.

Hypothesis' explain phase does this for arguments, but a property has one argument, the case. This module does it for each field: it tries
every value that the field may have, or a few where it may have any. A failure ``needs`` the features that all failing cases have and some
passing ones lack. Failures of the same bucket without these features have another cause.
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
"""The number of cases tried in which several fields are changed."""
_LARGEST = 2
"""The number of the largest failing cases that are tried with other data, and the number of seeds for each."""


@dataclass(frozen=True)
class Region:
    """The region of a failure: the features of all tried cases that failed, and which of these each passing case lacks."""

    always_true: frozenset[str] = frozenset()
    missing_when_passing: frozenset[frozenset[str]] = frozenset()

    @property
    def needs(self) -> frozenset[str]:
        """The features that a case needs to fail so, as far as was tried; none where every case fails."""
        return frozenset().union(*self.missing_when_passing)

    @property
    def is_exact(self) -> bool:
        """Whether these features distinguish every case that failed from every case that passed."""
        return all(self.missing_when_passing)

    def covers(self, case: Case) -> bool:
        """Return whether a case has all features that the failure needs."""
        return self.needs <= features(case) | holding(case, self.needs)

    def merge(self, other: Region) -> Region:
        """Return the region of both failures together. It has one cause if ``is_exact`` holds for it."""
        common = self.always_true & other.always_true
        return Region(common, frozenset(lacking & common for lacking in self.missing_when_passing | other.missing_when_passing))

    def plain(self) -> dict[str, Any]:
        """Return the region as plain data for JSON; ``of`` reads it."""
        return {"common": sorted(self.always_true), "lacking": sorted(map(sorted, self.missing_when_passing))}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Region:
        return cls(frozenset(plain["common"]), frozenset(map(frozenset, plain["lacking"])))

    def in_words(self) -> list[str]:
        return features_in_words(self.needs)


def is_explained(case: Case, target: Target, regions: Sequence[Region]) -> bool:
    """Return whether one of the regions covers the case, or the second call of its relation."""
    return bool(regions) and any(region.covers(one) for one in called(case, target) for region in regions)


@dataclass(frozen=True)
class Explanation:
    """The fields of a smallest case that do not matter, and the region of its failure."""

    irrelevant: tuple[str, ...] = ()
    region: Region = Region()
    tried: int = 0  # the number of cases near it that were tried


def explain(
    failure: Failure, fails: Callable[[Case], Failure | None], target: Target, *, seconds: float = 60.0, exclude: Sequence[Region] = ()
) -> Explanation:
    """Try cases near that of a failure, and return the explanation; ``fails`` runs a case.

    A field is irrelevant if the bucket stays the same for every other value that the target takes, for a size every larger one. A field for
    which there was no time, or no other value, is left out. Cases that a region of ``exclude`` covers are not tried, except to find out
    whether the data matter.
    """
    trials = _Trials(failure, fails, target, time.monotonic() + seconds, exclude)
    trials.change_each_field()
    trials.change_several_fields()
    if any(need.startswith("data is ") for need in trials.region.needs):
        trials.change_the_data()
    return Explanation(trials.irrelevant, trials.region, len(trials.seen) - 1)


class _Trials:
    """The tried cases near a smallest one: those that failed in its bucket, those that passed, and the outcomes by field."""

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
        """The region of the failure, as far as was tried."""
        return _region(self.failed, self.passed)

    @property
    def irrelevant(self) -> tuple[str, ...]:
        """The fields for which other values were tried, and the case failed with all of them."""
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
        """Try cases that combine the differences of several failing cases."""
        for case in _together(self.case, self.failed[1:]):
            if self._is_over():
                return
            if self._is_apart(case) and self._shown(case) == self.bucket:
                self.failed.append(case)

    def change_the_data(self) -> None:
        """Try other data on the smallest and the largest cases. Cases that passed with data that can fail are dropped.

        They passed by chance: such data are mostly zeros.
        """
        for case in _with_other_data(self.failed):
            if self._is_over():
                return
            if case.data not in {one.data for one in self.failed} and self._is_within(case) and self._shown(case) == self.bucket:
                self.failed.append(case)
                self.passed = [one for one in self.passed if one.data != case.data]

    def _sort_in(self, name: str, case: Case) -> None:
        buckets = {self._shown(case)}
        if None in buckets:  # it may have passed by chance, with these data
            buckets |= {self._shown(other) for other in _seeds(case)}
        if self.bucket in buckets:
            self.failed.append(case)
        elif buckets == {None} and name != "seed":  # a failure of another bucket may hide this one
            self.passed.append(case)

    def _shown(self, case: Case) -> Any:
        """Return the bucket in which the case fails, None where it passes."""
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
    """Return the irrelevant fields of a case in the words of a report.

    >>> from moefuzz.harness.levels.grouped_gemm.case import GroupedGemmCase
    >>> in_words(("dtype", "seed", "K"), GroupedGemmCase((1,))), in_words((), GroupedGemmCase((1,)))
    ('any dtype, any seed, any larger K', '')
    """
    return ", ".join(f"any larger {name}" if name in case.tiles else f"any {name}" for name in names)


def _explained(case: Case) -> tuple[str, ...]:
    """Return the fields for which a report says whether they matter."""
    return (*case.explained, *case.tiles)


def _others(case: Case) -> Iterator[tuple[str, Case]]:
    """Yield cases with another value of each explained field, for sizes a larger one."""
    for name in _explained(case):
        value = getattr(case, name)
        for choice in (value + 1, 2 * value + 1, value + 16) if name in case.tiles else SEEDS if name == "seed" else case.choices[name]:
            if choice != value and choice not in FAR_AXES:  # far layouts cost gigabytes for one word of the report
                yield from _replaced(name, case, **{name: choice})


def _around(case: Case) -> Iterator[tuple[str, Case]]:
    """Yield cases that are simpler by one step, which mostly pass, and cases that are larger by one step, which mostly fail."""
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
    """Yield loads with one more expert at either end, with more rows, with rows split or spread evenly over experts, and reversed."""
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
    """Yield cases that combine the differences of several failing cases."""
    chance = random.Random(0)  # noqa: S311
    for _ in range(_TOGETHER if len(failed) > 1 else 0):
        changed: dict[str, Any] = {}
        for other in chance.sample(failed, min(3, len(failed))):
            values = ((field.name, getattr(other, field.name)) for field in dataclasses.fields(case))
            changed |= {name: value for name, value in values if value != getattr(case, name)}
        for _, together in _replaced("", case, **changed):
            yield together


def _with_other_data(failed: Sequence[Case]) -> Iterator[Case]:
    """Yield the smallest and the largest failing cases with other data: in a small case a sum may be 0 by chance."""
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
