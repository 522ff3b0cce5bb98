"""Measure the cost of the sanitizer: time per example with it and without, and its findings, of which there should be none.

    python benchmarks/sanitizer_cost.py [--examples 300]
    python benchmarks/sanitizer_cost.py --zoo [--examples 40]

It runs examples of our grouped GEMM, forward and backward, as the properties draw them, the same both times; or the right kernels of the
tests' zoo, each launched so many times, of which the fastest counts. The first run of each is not counted.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings

from moefuzz.harness import sanitize
from moefuzz.harness.base.device import describe, one_thread, versions
from moefuzz.harness.levels.cases import GroupedGemmCase
from moefuzz.harness.levels.grouped_gemm.problem import build_grouped_gemm
from moefuzz.harness.levels.grouped_gemm.run import run_grouped_gemm
from moefuzz.harness.targets import Target
from moefuzz.harness.targets.registry import load_target
from moefuzz.strategies import grouped_gemm_cases

CPU = torch.device("cpu")


def drawn(examples: int, target: Target) -> list[GroupedGemmCase]:
    """Return so many cases, the same in each call."""
    cases: list[GroupedGemmCase] = []

    @seed(0)
    @settings(max_examples=examples, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(grouped_gemm_cases(target=target))
    def draw(case: GroupedGemmCase) -> None:
        cases.append(case)

    draw()
    return cases


def milliseconds(run: Callable[[], object], watched: Callable[[], AbstractContextManager[object]]) -> float:
    """Return the time of a run in milliseconds, including entering the sanitizer."""
    began = time.perf_counter()
    with watched():
        run()
    return 1000 * (time.perf_counter() - began)


def zoo(times: int) -> None:
    """Print a line for each right kernel, the most expensive last."""
    from moefuzz.tests.selftest.sanitizer.zoo import right, right_together

    warnings.simplefilter("ignore")  # block pointers are deprecated
    both = {}
    for name, run in (right.LAUNCHES | right_together.LAUNCHES).items():
        pairs = [(milliseconds(run, nullcontext), milliseconds(run, sanitize)) for _ in range(times + 1)][1:]
        both[name] = tuple(map(min, zip(*pairs, strict=True)))
    ratios = {name: sanitized / plain for name, (plain, sanitized) in both.items()}
    for name in sorted(both, key=ratios.__getitem__):
        print(f"{ratios[name]:5.2f} times, {both[name][0]:5.2f} ms and {both[name][1]:5.2f} ms: {name}")  # noqa: T201
    plain, sanitized = map(sum, zip(*both.values(), strict=True))
    print(f"{len(both)} kernels: {sanitized / plain:.2f} times in all, {statistics.median(ratios.values()):.2f} in the median")  # noqa: T201


def grouped_gemm(examples: int) -> None:
    """Print the sums over drawn examples, and the findings."""
    target = load_target("triton")
    plain, sanitized, ratios, found = [], [], [], 0
    for case in drawn(examples, target):
        problem = build_grouped_gemm(case)
        run = lambda problem=problem: run_grouped_gemm(problem, target, CPU)
        run()
        both = {name: milliseconds(run, watched) for name, watched in random.sample([("plain", nullcontext), ("sanitized", sanitize)], 2)}
        plain.append(both["plain"])
        sanitized.append(both["sanitized"])
        ratios.append(both["sanitized"] / both["plain"])
        with sanitize() as findings:
            run()
        found += len(findings)
        for finding in findings:
            print(f"{case!r}\n{finding}")  # noqa: T201
    print(  # noqa: T201
        f"{len(plain)} examples: {statistics.mean(plain):.1f} ms each, {statistics.mean(sanitized):.1f} ms sanitized: "
        f"{sum(sanitized) / sum(plain):.2f} times in all, {statistics.median(ratios):.2f} in the median; {found} findings"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, help="how many (default: 300, of the zoo 40)")
    parser.add_argument("--zoo", action="store_true", help="small kernels of all sorts instead")
    options = parser.parse_args()
    one_thread()
    print(f"{describe()}: {versions()}")  # noqa: T201
    if options.zoo:
        zoo(options.examples or 40)
    else:
        grouped_gemm(options.examples or 300)


if __name__ == "__main__":
    main()
