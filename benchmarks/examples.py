"""Measure the examples per second of the fuzz loop (draw, build, run, judge), on the GPU if there is one, else under the interpreter.

    python benchmarks/examples.py [--target TARGET] [--examples 1000] [--seed 0] [--once] [--forward] [--profile]

On a GPU the same examples are run twice: the first run compiles, and its compiled variants are counted; the second is the steady state.
``--forward`` leaves out gradients. ``--profile`` prints where the time of the second run is spent.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import time
from collections import Counter

import torch
from hypothesis import given, seed
from hypothesis import strategies as st
from options import positive, target

from moefuzz.harness.base.device import describe, versions
from moefuzz.harness.base.hypothesis_profiles import drawn
from moefuzz.harness.levels.cases import Case
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.check import check
from moefuzz.strategies import experts_cases, grouped_gemm_cases, moe_block_cases

CASES = {"grouped_gemm": grouped_gemm_cases, "experts": experts_cases, "moe_block": moe_block_cases}


def run(
    cases: st.SearchStrategy[Case], target: Target, examples: int, which: int
) -> tuple[float, Counter[str], dict[tuple[str, str], float]]:
    """Run so many examples; return the seconds, the number of each dtype, and the largest share of a bound by tensor and dtype."""
    seen: Counter[str] = Counter()
    shares: dict[tuple[str, str], float] = {}

    @seed(which)
    @drawn(examples)
    @given(cases)
    def one(case: Case) -> None:
        for tensor, share in check(case, target).shares.items():
            shares[tensor, case.dtype] = max(share, shares.get((tensor, case.dtype), 0.0))
        seen[case.dtype] += 1

    began = time.perf_counter()
    one()
    return time.perf_counter() - began, seen, shares


def compiled_variants() -> int:
    """Return the number of compiled variants of our kernels in this process; 0 under the interpreter."""
    modules = [module for name, module in sys.modules.items() if name.startswith("moefuzz.kernels.")]
    kernels = {id(value): value for module in modules for value in vars(module).values() if hasattr(value, "device_caches")}
    return sum(len(cache[0]) for kernel in kernels.values() for cache in kernel.device_caches.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=target, default="triton", metavar="TARGET", help="whose examples (our grouped GEMM)")
    parser.add_argument("--examples", type=positive, default=1000 if torch.cuda.is_available() else 200, help="1000, without a GPU 200")
    parser.add_argument("--forward", action="store_true", help="no gradients")
    parser.add_argument("--seed", type=int, default=0, help="which examples are drawn")
    parser.add_argument("--once", action="store_true", help="make the first run only")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    arguments = parser.parse_args()
    if arguments.forward and arguments.target.level != "grouped_gemm":
        parser.error(f"--forward is for targets of the grouped_gemm level, not for {arguments.target.level}")
    if arguments.once and arguments.profile:
        parser.error("--profile is of the second run, which --once leaves out")
    torch.set_num_threads(1)
    fields = {"grads": st.just("")} if arguments.forward else {}
    cases = CASES[arguments.target.level](arguments.target, **fields)
    print(f"{describe()}: {versions()}")  # noqa: T201
    for name in ("first run",) if arguments.once else ("first run", "second run"):
        profile = cProfile.Profile() if arguments.profile and name == "second run" else None
        if profile:
            profile.enable()
        seconds, seen, shares = run(cases, arguments.target, arguments.examples, arguments.seed)
        if profile:
            profile.disable()
        count = sum(seen.values())
        rate, variants = count / seconds, compiled_variants()
        print(f"{name}: {count} examples in {seconds:.1f} s, {rate:.1f} a second, {variants} compiled variants", flush=True)  # noqa: T201
        if profile:
            for order in ("cumulative", "tottime"):
                pstats.Stats(profile).sort_stats(order).print_stats(45)
    for (tensor, dtype), share in sorted(shares.items()):
        print(f"largest share of the bound used: {tensor:3} {dtype:9} {share:.3f}")  # noqa: T201


if __name__ == "__main__":
    main()
