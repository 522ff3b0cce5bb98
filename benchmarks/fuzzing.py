"""Measure how the examples per second of the fuzz loop depend on E, on M, and on the number of processes on one GPU.

    python benchmarks/fuzzing.py [--target TARGET] [--seconds 2] [--plot fuzzing.png]
                                 [--experts 8 32 128 512] [--rows 100 1000 10000 100000 1000000] [--processes 1 2 4 8]

Each number is the rate in the steady state: the same examples were run once before, so that their kernels are compiled. For E and M, cases
are drawn at the grouped_gemm level with all gradients, float64 reference and comparison; processes draw all that the target declares.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import torch
from examples import run
from hypothesis import strategies as st
from options import grouped_gemm_name, picture, positive, time_span
from rich.console import Console
from rich.table import Table

from moefuzz.harness.base.device import describe, one_thread, versions
from moefuzz.harness.levels.cases import Case
from moefuzz.harness.targets.registry import load_target
from moefuzz.strategies import grouped_gemm_cases


def rate(
    spec: str,
    cases: st.SearchStrategy[Case],
    seconds: float,
    first_seed: int = 0,
    at_once: int = 10,
    ready: Callable[[], object] = lambda: None,
) -> float:
    """Return examples per second: run chunks of ``at_once`` for so many seconds, to compile, then the same chunks as long, timed.

    ``ready`` is called between the two.
    """
    target = load_target(spec)

    def until_over(chunks: Iterator[int]) -> tuple[int, float]:
        """Run chunks until the time is over; return how many were run, and their seconds."""
        count, took = 0, 0.0
        while took < seconds:
            took += run(cases, target, at_once, first_seed + next(chunks))[0]
            count += 1
        return count, took

    first, _ = until_over(itertools.count())
    ready()
    again, took = until_over(itertools.cycle(range(first)))
    return again * at_once / took


def counts(E: int, M: int) -> st.SearchStrategy[list[int]]:
    """Return a strategy for expert counts with the sum M: rows are distributed at random over experts of drawn popularity."""

    def dealt(drawn_seed: int) -> list[int]:
        chance = np.random.default_rng(drawn_seed)
        return chance.multinomial(M, chance.dirichlet(np.ones(E))).tolist()

    return st.integers(0, 2**16).map(dealt)


def of_size(spec: str, E: int, M: int) -> st.SearchStrategy[Case]:
    """Return a strategy for cases of E experts and M rows in the configuration that the target itself chooses."""
    sizes = st.sampled_from([16, 31, 32, 33, 64])
    fields = {"N": sizes, "K": sizes, "topk": st.just(1), "tail_rows": st.just(0), "config": st.none()}
    return grouped_gemm_cases(load_target(spec), counts=counts(E, M), **fields)


def _share(spec: str, seconds: float, which: int, barrier: Barrier) -> float:
    one_thread()
    return rate(spec, grouped_gemm_cases(load_target(spec)), seconds, first_seed=1_000 * which, ready=barrier.wait)


def together(spec: str, processes: int, seconds: float) -> float:
    """Return the sum of the rates of so many processes, whose timed parts begin together and take equally long."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(processes, mp_context=context) as pool:
        barrier = manager.Barrier(processes)
        return sum(pool.map(_share, [spec] * processes, [seconds] * processes, range(processes), [barrier] * processes))


def measured(options: argparse.Namespace) -> Iterator[tuple[str, int, float]]:
    """Yield (axis, value, examples per second)."""
    spec, seconds = options.target, options.seconds
    axes: list[tuple[str, list[int], Callable[[int], float]]] = [
        ("E", options.experts, lambda E: rate(spec, of_size(spec, E, 1_000), seconds)),
        ("M", options.rows, lambda M: rate(spec, of_size(spec, 8, M), seconds, at_once=10 if M < 50_000 else 2)),
        ("processes", options.processes, lambda n: together(spec, n, seconds)),
    ]
    for axis, values, of in axes:
        for value in values:
            yield axis, value, of(value)


def draw(results: list[tuple[str, int, float]], path: Path) -> None:
    """Write a plot with one panel for each axis."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, LogLocator

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    panels = figure.subplots(1, 3)
    titles = {"E": "E experts, M = 1,000", "M": "M rows, E = 8", "processes": "processes on one device"}
    for panel, (axis, title) in zip(panels, titles.items(), strict=True):
        values, rates = zip(*((value, number) for name, value, number in results if name == axis), strict=True)
        panel.plot(values, rates, "o-")
        panel.set_xscale("log", base=10 if axis == "M" else 2)
        panel.set_xticks(values)
        panel.set_xticks([], minor=True)
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        if axis == "processes":
            panel.set_ylim(0, 1.1 * max(rates))
        else:
            panel.set_yscale("log")
            panel.set_ylim(min(rates) / 2, 2 * max(rates))
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.yaxis.set_major_formatter("{x:g}")
            panel.set_yticks([], minor=True)
        panel.set_xlabel(title)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("examples a second")
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--target",
        type=grouped_gemm_name,
        default="triton",
        help="whose examples: a name, or pkg.mod:attr, of the grouped_gemm level",
    )
    parser.add_argument("--seconds", type=time_span, default=2, help="for each number, and as long again before it")
    parser.add_argument("--experts", type=positive, nargs="+", default=[8, 32, 128, 512], metavar="E")
    parser.add_argument("--rows", type=positive, nargs="+", default=[100, 1_000, 10_000, 100_000, 1_000_000], metavar="M")
    parser.add_argument("--processes", type=positive, nargs="+", default=[1, 2, 4, 8], metavar="N")
    parser.add_argument("--plot", type=picture, help="draw all numbers there")
    options = parser.parse_args()
    one_thread()
    console = Console(width=140)
    console.print(f"{describe()}: {versions()}", highlight=False, soft_wrap=True)
    results = []
    table = Table("axis", "value", "examples a second", title=f"{options.target}, {torch.get_num_threads()} thread")
    for axis, value, number in measured(options):
        console.print(f"{axis} = {value:,}: {number:.1f}", highlight=False)
        results.append((axis, value, number))
        table.add_row(axis, f"{value:,}", f"{number:.1f}")
    console.print(table)
    if options.plot:
        draw(results, options.plot)


if __name__ == "__main__":
    main()
