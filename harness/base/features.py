"""Features of a case, in the words of a report. The region in which a failure occurs is a set of features.

A feature is a text. Sizes and loads give thresholds and remainders, fields with a closed list their value, loads whether experts are empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from moefuzz.kernels.kernel_config import FLAGS, KernelConfig

from .case import Case

_EDGES = (0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 511, 512, 1023, 1024, *(1 << n for n in range(11, 17)))
_MULTIPLES = (2, 4, 8, 16, 32, 64)


def features(case: Case) -> frozenset[str]:
    """Return all features of a case.

    >>> from moefuzz.harness.levels.grouped_gemm.case import GroupedGemmCase
    >>> sorted(features(GroupedGemmCase((0, 3), K=17)) & {"K > 16", "K > 17", "K is no multiple of 2", "an expert without rows"})
    ['K > 16', 'K is no multiple of 2', 'an expert without rows']
    """
    return frozenset(_all(case))


def thresholds(case: Case) -> frozenset[str]:
    """The thresholds that the case passes by one: of a smallest case those that its failure may need, which no list of edges has.

    >>> from moefuzz.harness.levels.grouped_gemm.case import GroupedGemmCase
    >>> sorted(thresholds(GroupedGemmCase((0, 137), K=1501)))
    ['K > 1500', 'a load > 136', 'experts > 1', 'rows > 136']
    """
    return frozenset(f"{name} > {count - 1}" for name, count in _counts(case).items() if count > 1)


def holding(case: Case, needs: Iterable[str]) -> frozenset[str]:
    """Those of some thresholds that a case passes."""
    counts = _counts(case)
    split = ((need, *need.rpartition(" > ")[::2]) for need in needs)
    return frozenset(need for need, name, number in split if number.isdecimal() and counts.get(name, 0) > int(number))


def _counts(case: Case) -> dict[str, int]:
    """What thresholds are said of."""
    of_rows = {
        "experts": len(case.rows),
        "experts with rows": sum(load > 0 for load in case.rows),
        "a load": max(case.rows, default=0),
        "rows": sum(case.rows),
    }
    return {name: getattr(case, name) for name in case.sizes} | of_rows | {"topk": case.topk}


def in_words(needs: Iterable[str]) -> list[str]:
    """Return the features that no other of them implies: of thresholds the highest, of multiples the largest.

    >>> in_words({"K > 1", "K > 16", "N is no multiple of 2", "N is no multiple of 4", "dtype is bfloat16", "dtype is not float32"})
    ['K > 16', 'N is no multiple of 2', 'dtype is bfloat16']
    """
    strongest: dict[str, tuple[int, str]] = {}
    for need in needs:
        of, _, number = need.rpartition(" ")
        rank = int(number) * (-1 if "no multiple" in of else 1) if number.isdecimal() and of.endswith((">", "multiple of")) else 0
        key = of if rank else need
        strongest[key] = max(strongest.get(key, (rank, need)), (rank, need))
    said = {need for _, need in strongest.values()}
    exactly = {need.partition(" is ")[0] for need in said if " is " in need and " is not " not in need}
    implied = {weaker for need in said for weaker in _IMPLIED.get(need, ())}
    for stronger, weaker in _AT_LEAST:
        most = max(_numbers(said, stronger).values(), default=-1)
        implied |= {need for need, number in _numbers(said, weaker).items() if number <= most}
    implied |= {need for need in said if " is not " in need and need.partition(" is ")[0] in exactly}
    return sorted(said - implied)


def _numbers(needs: Iterable[str], name: str) -> dict[str, int]:
    """The thresholds of something among needs."""
    split = ((need, *need.rpartition(" > ")[::2]) for need in needs)
    return {need: int(number) for need, of, number in split if of == name and number.isdecimal()}


_NOTHING = "none"
_WITHOUT, _BEFORE, _LAST = "an expert without rows", "an expert without rows before one with rows", "no rows for the last expert"
_IMPLIED: dict[str, Sequence[str]] = {
    _BEFORE: (_WITHOUT, "experts > 1", "rows > 0"),
    _LAST: (_WITHOUT,),
}
_AT_LEAST = (("a load", "rows"), ("experts with rows", "experts"), ("experts with rows", "rows"))
"""Of what one is no larger than the other: a threshold of the first says all lower ones of the second."""


def _all(case: Case) -> Iterator[str]:
    for name in case.sizes:
        yield from _of_size(name, getattr(case, name)) if name in case.tiles else _above(name, getattr(case, name))
    if case.rows:
        yield from _of_loads(case.rows)
        yield from _above("rows", sum(case.rows))
    yield from _above("topk", case.topk)
    for name in (name for name in case.choices if name not in _COUNTED):
        value = getattr(case, name)
        yield f"{name} is {_NOTHING if value == '' else value}"
        if not isinstance(value, bool):
            yield from (f"{name} is not {other or _NOTHING}" for other in case.choices[name] if other != value)
    yield from case.features()
    if hasattr(case, "config"):
        yield from _of_config(case.config)
        yield from _of_tiles(case, case.config or KernelConfig())


_COUNTED = ("topk", "grads", "config")
"""Choices whose features are not their values, but thresholds, each gradient, each field of a config."""


def _above(name: str, value: int, least: int = 0) -> Iterator[str]:
    yield from (f"{name} > {edge}" for edge in _EDGES if value > edge >= least)


def _of_size(name: str, size: int) -> Iterator[str]:
    yield from _above(name, size)
    for multiple in _MULTIPLES:
        yield f"{name} is {'no' if size % multiple else 'a'} multiple of {multiple}"
    yield f"{name} modulo 16 is {size % 16}"


def _of_loads(loads: tuple[int, ...]) -> Iterator[str]:
    busy = [load for load in loads if load]
    yield from _above("experts", len(loads))
    yield from _above("experts with rows", len(busy), 1)
    yield from _above("a load", max(loads), 1)
    yield from (f"a load of {load}" for load in set(busy))
    if len(busy) < len(loads):
        yield _WITHOUT
    if any(not load and any(loads[e + 1 :]) for e, load in enumerate(loads)):
        yield _BEFORE
    if not loads[-1]:
        yield _LAST
    if len(busy) == 1:
        yield "all rows for one expert"
    yield from (f"a load is no multiple of {multiple}" for multiple in _MULTIPLES if any(load % multiple for load in loads))


def _of_tiles(case: Case, config: KernelConfig) -> Iterator[str]:
    for name, block in case.tiles.items():
        yield from _beside(name, getattr(case, name), block, getattr(config, block))
    yield from {said for load in case.rows if load for said in _beside("a load", load, "block_m", config.block_m)}


def _beside(name: str, size: int, block: str, width: int) -> Iterator[str]:
    yield f"{name} is {'no' if size % width else 'a'} multiple of {block}"
    if size > width:
        yield f"{name} > {block}"


def _of_config(config: KernelConfig | None) -> Iterator[str]:
    if config is None:
        yield "the target's own config"
        return
    for name in ("block_m", "block_n", "block_k", "num_warps", "num_stages"):
        yield f"{name} is {getattr(config, name)}"
        yield from _above(name, getattr(config, name))
    for name in FLAGS:
        yield f"config is {'' if getattr(config, name) else 'not '}{name}"
