"""Measure the host's microseconds for one call of the experts: our Python, torch's and Triton's. It needs no GPU, and uses none.

    python benchmarks/launches.py [--tokens 64] [--calls 200] [--repeats 15] [--profile]

128 experts, 8 per token, so small that torch's own operators, on the CPU here, take few microseconds. Kernels are compiled for Hopper and
not launched: the time does not include the driver and the creation of its descriptors.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import statistics
import time
from collections.abc import Callable

import torch
from options import positive

from moefuzz.harness.numerics.recipes import values
from moefuzz.tests.selftest.support.pretended_gpu import launches, pretend

E, TOPK, H, I = 128, 8, 64, 64


def calls(T: int) -> dict[str, Callable[[], object]]:
    """Return the calls that are measured, by name."""
    from moefuzz.kernels.experts import triton_experts

    def numbers(stream: int, *shape: int) -> torch.Tensor:
        return torch.from_numpy(values("normal", 0, stream, shape)).bfloat16()

    leaves = [numbers(i, *shape).requires_grad_() for i, shape in enumerate([(T, H), (T, TOPK), (E, 2 * I, H), (E, H, I)])]
    ids, d_out = numbers(4, T, E).topk(TOPK).indices, numbers(5, T, H)

    def output() -> torch.Tensor:
        return triton_experts(leaves[0], ids, *leaves[1:], torch.nn.functional.silu)

    return {"forward": torch.no_grad()(output), "forward + backward": lambda: torch.autograd.grad(output(), leaves, d_out)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=positive, default=64)
    parser.add_argument("--calls", type=positive, default=200, help="in a row, of which the mean is taken")
    parser.add_argument("--repeats", type=positive, default=15, help="of these, of which the median and the least are printed")
    parser.add_argument("--profile", action="store_true", help="print which functions the time is spent in")
    options = parser.parse_args()
    if "TRITON_INTERPRET" in os.environ:
        parser.error("TRITON_INTERPRET is set, under which nothing is launched")
    pretend()
    torch.set_num_threads(1)
    for name, call in calls(options.tokens).items():
        for _ in range(20):
            call()
        launches.clear()
        call()
        launched, times = len(launches), []
        for _ in range(options.repeats):
            began = time.perf_counter()
            for _ in range(options.calls):
                call()
                launches.clear()  # they keep their tensors alive
            times.append(1e6 * (time.perf_counter() - began) / options.calls)
        print(f"{name}: {statistics.median(times):.0f} us, at least {min(times):.0f}, for {launched} launches")  # noqa: T201
        if options.profile:
            with cProfile.Profile() as profile:
                for _ in range(options.calls):
                    call()
                    launches.clear()
            pstats.Stats(profile).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    main()
