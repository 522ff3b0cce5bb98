"""What a case costs in a process of its own: medians over the same cases here and in a worker, and how soon a dead worker is replaced.

    python benchmarks/isolation_cost.py [--examples 200]

``torch_loop`` has the shortest cases, Hugging Face's block long ones.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from moefuzz.harness.cases import Case, GroupedGemmCase, MoeBlockCase
from moefuzz.harness.device import describe, one_thread, versions
from moefuzz.harness.isolation import isolated
from moefuzz.harness.target_names import load_target
from moefuzz.harness.verdict import check, failure_of

CASES: dict[str, Callable[[int], Case]] = {
    "torch_loop": lambda seed: GroupedGemmCase(m_sizes=(2, 3), N=4, K=4, seed=seed),
    "hugging_face_block": lambda seed: MoeBlockCase(loads=(2, 3), hidden_size=8, moe_intermediate_size=4, seed=seed),
}
ABORTS = "moefuzz.harness.process_faults:aborts_behind_an_empty_expert"


def milliseconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - began)


def median(name: str, examples: int) -> float:
    target = load_target(name)
    check(CASES[name](0), target)
    return statistics.median(milliseconds(lambda seed=seed: check(CASES[name](seed), target)) for seed in range(examples))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=200)
    options = parser.parse_args()
    one_thread()
    print(f"{describe()}: {versions()}")  # noqa: T201
    here = {name: median(name, options.examples) for name in CASES}
    with isolated():
        for name in CASES:
            there = median(name, options.examples)
            print(f"{name}: {here[name]:.2f} ms here, {there:.2f} ms in a worker, {there / here[name] - 1:+.1%}")  # noqa: T201
        crash = milliseconds(lambda: failure_of(GroupedGemmCase((0, 1)), load_target(ABORTS)))
        print(f"a crash, and the spare in its place: {crash:.0f} ms")  # noqa: T201


if __name__ == "__main__":
    main()
