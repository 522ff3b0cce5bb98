"""Measure the share of the target layer in the time of an example: finding the target, its declaration, and the keywords of its call.

    python benchmarks/target_layer.py [--examples 300]

Each function of the layer is timed where it is called, including the cost of timing, so that the share is an upper limit. It is measured
for the fastest adapter, for which an example is shortest, and for our own kernels.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable
from typing import Any

from hypothesis import given

from moefuzz.harness.base.device import describe, one_thread, versions
from moefuzz.harness.base.hypothesis_profiles import drawn
from moefuzz.harness.levels.cases import Case
from moefuzz.harness.levels.grouped_gemm import oracle
from moefuzz.harness.targets import Target
from moefuzz.harness.targets.registry import OWN_TARGETS, chosen, load_target
from moefuzz.harness.verdict import check
from moefuzz.strategies.regimes import REGIMES

LAYER: tuple[tuple[Any, str], ...] = (
    (Target, "takes"),
    (Target, "limit_on"),
    (Target, "tiles"),
    (check, "default_target"),
    (oracle, "keywords_of"),
)
spent = 0.0
depth = 0


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with its time added to ``spent``; nested calls count once."""

    @functools.wraps(function)
    def call(*args: Any, **keywords: Any) -> Any:
        global spent, depth
        depth += 1
        began = time.perf_counter()
        try:
            return function(*args, **keywords)
        finally:
            depth -= 1
            if not depth:
                spent += time.perf_counter() - began

    return call


def share(spec: str, examples: int) -> tuple[float, int]:
    """Return the layer's share of the time of ``check``, and the number of examples."""
    global spent
    target, seconds, count, spent = load_target(spec), 0.0, 0, 0.0
    strategy = next(iter(REGIMES[target.level].values()))(target)
    assert strategy is not None

    @drawn(examples)
    @given(strategy)
    def example(case: Case) -> None:
        nonlocal seconds, count
        began = time.perf_counter()
        check.check(case)
        seconds, count = seconds + time.perf_counter() - began, count + 1

    with chosen(spec):
        example()
    return spent / seconds, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=300)
    examples = parser.parse_args().examples
    one_thread()
    for owner, name in LAYER:
        setattr(owner, name, timed(getattr(owner, name)))
    sys.stdout.write(f"{describe()}\n{versions()}\n")
    for spec in ("torch_loop", *(own[0] for own in OWN_TARGETS.values())):
        of_check, count = share(spec, examples)
        sys.stdout.write(f"{spec:<48} {of_check:6.2%} of {count} examples\n")


if __name__ == "__main__":
    main()
