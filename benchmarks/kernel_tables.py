"""Print the results of benchmarks/kernels.py as tables in Markdown: ratios of ours to each of the others, by tokens, and every number.

    python benchmarks/kernel_tables.py RESULTS.json [...]

A ratio is the geometric mean over shapes, with the least and the most. "The best" is the best of the others, shape by shape.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from kernel_plots import PASSES

Shape = tuple[str, str, str, int]  # model, GEMM, routing, tokens
Speeds = dict[tuple[Shape, str], dict[str, float]]
"""The TFLOP/s of each name, and the ceiling, by shape and pass."""
OURS = "moefuzz"
BEST = "the best"
CEILING = "ceiling"


def speeds(results: Iterable[dict[str, object]]) -> Speeds:
    """Return the speeds of all results. Raises ValueError for an invalid speed, and for duplicates: a ratio needs numbers of one run."""
    found: Speeds = {}
    for one in results:
        key = (str(one["model"]), str(one["gemm"]), str(one["routing"]), int(str(one["tokens"]))), str(one["pass"])
        name, speed, ceiling = str(one["name"]), float(str(one["tflops"])), float(str(one[CEILING]))
        by_name = found.setdefault(key, {CEILING: ceiling})
        if name in by_name or by_name[CEILING] != ceiling:
            raise ValueError(f"{name}, {key[1]}, {', '.join(map(str, key[0]))}: results of several runs")
        if not (0 < speed < math.inf and 0 < ceiling < math.inf):
            raise ValueError(f"{name}, {key[1]}, {', '.join(map(str, key[0]))}: {speed} TFLOP/s under {ceiling}")
        by_name[name] = speed
    return found


def _others(by_name: dict[str, float]) -> dict[str, float]:
    return {name: speed for name, speed in by_name.items() if name != CEILING and not name.startswith(OURS)}


def ratio(found: Speeds, which: str, other: str, *, to: str = OURS, tokens: int | None = None) -> str:
    """Return the ratio of ``to`` over ``other`` in one pass as text."""
    values = []
    for (shape, pass_), by_name in found.items():
        others = _others(by_name)
        if pass_ == which and tokens in (None, shape[3]) and to in by_name and (other in by_name or (other == BEST and others)):
            values.append(by_name[to] / (max(others.values()) if other == BEST else by_name[other]))
    if not values:
        return "-"
    mean = math.exp(sum(map(math.log, values)) / len(values))
    return f"{mean:.2f} ({min(values):.2f} to {max(values):.2f}, {len(values)} shape{'s' * (len(values) > 1)})"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _names(found: Speeds) -> list[str]:
    return list(dict.fromkeys(name for by_name in found.values() for name in by_name if name != CEILING))


def ratios(found: Speeds) -> Iterator[str]:
    names = _names(found)
    others = [name for name in names if not name.startswith(OURS)]
    for ours in (name for name in names if name.startswith(OURS)):
        yield _row(f"{ours} /", *PASSES)
        yield _row(*["---"] * (1 + len(PASSES)))
        for other in (*others, BEST, CEILING):
            yield _row(other, *(ratio(found, which, other, to=ours) for which in PASSES))
        for tokens in sorted({shape[3] for shape, _ in found}):
            for other in (BEST, CEILING):
                yield _row(f"{other}, T = {tokens:,}", *(ratio(found, which, other, to=ours, tokens=tokens) for which in PASSES))
        yield ""


def numbers(found: Speeds) -> Iterator[str]:
    names = _names(found)
    yield f"{' / '.join(names)}, TFLOP/s:\n"
    yield _row("model, GEMM", "routing", "T", "ceiling", *PASSES)
    yield _row(*["---"] * (4 + len(PASSES)))
    for shape in dict.fromkeys(shape for shape, _ in found):
        of_passes = [found.get((shape, which), {}) for which in PASSES]
        ceilings = dict.fromkeys(f"{by_name[CEILING]:.0f}" for by_name in of_passes if by_name)
        cells = (" / ".join(f"{by_name[name]:.4g}" if name in by_name else "-" for name in names) for by_name in of_passes)
        yield _row(f"{shape[0]}, {shape[1]}", shape[2], f"{shape[3]:,}", ", ".join(ceilings), *cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="what kernels.py wrote with --results")
    options = parser.parse_args()
    try:
        lines = [line for path in options.results for line in path.read_text().splitlines() if line.strip()]
        found = speeds(map(json.loads, lines))
    except (OSError, ValueError, KeyError, TypeError) as error:
        parser.error(f"not results of kernels.py: {type(error).__name__}: {error}")
    if not found:
        parser.error("no results")
    print("\n".join([*ratios(found), *numbers(found)]))  # noqa: T201


if __name__ == "__main__":
    main()
