"""Measure the cost of isolation: the median time of the same cases here and in a worker, and the time to replace a crashed worker.

    python benchmarks/isolation_cost.py [--examples 200]

``torch_loop`` has the shortest cases, Hugging Face's block long ones.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from moefuzz.harness.base.device import describe, one_thread, versions
from moefuzz.harness.levels.cases import Case, GroupedGemmCase, MoeBlockCase
from moefuzz.harness.targets.registry import load_target
from moefuzz.harness.verdict.check import check_here, failure_of
from moefuzz.harness.verdict.isolation import Isolation, isolated

CASES: dict[str, Callable[[int], Case]] = {
    "torch_loop": lambda seed: GroupedGemmCase(m_sizes=(2, 3), N=4, K=4, seed=seed),
    "triton": lambda seed: GroupedGemmCase(m_sizes=(2, 3), N=4, K=4, seed=seed),
    "hugging_face_block": lambda seed: MoeBlockCase(loads=(2, 3), hidden_size=8, moe_intermediate_size=4, seed=seed),
}
ABORTS = "moefuzz.harness.planted.process_faults:aborts_behind_an_empty_expert"


def milliseconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - began)


def both(name: str, examples: int, isolation: Isolation) -> tuple[float, float]:
    """Return the medians here and in the worker; the calls alternate, since the speed of a machine varies."""
    target, case = load_target(name), CASES[name]
    ways = (check_here, isolation.check)
    for way in ways:
        way(case(0), target)
    took = [[milliseconds(lambda way=way, seed=seed: way(case(seed), target)) for way in ways] for seed in range(examples)]
    here, there = (statistics.median(column) for column in zip(*took, strict=True))
    return here, there


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=200)
    options = parser.parse_args()
    one_thread()
    print(f"{describe()}: {versions()}")  # noqa: T201
    with isolated() as isolation:
        for name in CASES:
            here, there = both(name, options.examples, isolation)
            print(f"{name}: {here:.2f} ms here, {there:.2f} ms in a worker, {there / here - 1:+.1%}", flush=True)  # noqa: T201
        crash = milliseconds(lambda: failure_of(GroupedGemmCase((0, 1)), load_target(ABORTS)))
        print(f"a crash, and the spare in its place: {crash:.0f} ms")  # noqa: T201


if __name__ == "__main__":
    main()
