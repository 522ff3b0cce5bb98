"""Measure the largest share of the bound that right kernels use, over many distinct examples of each dtype, in parts.

    python benchmarks/calibrate.py [--examples 100000] [--minutes 9] [--workers N] [--results calibration.jsonl]

Worker processes run parts of 1,000 examples, each with its own seed, until the time is up. Every other part draws from all regimes, the
rest take the regimes in turn, except the far one, whose inputs fill a GPU. Each finished part is a line of the results file, and a later
call continues where the file ends. It prints the table of ``docs/evidence/calibration.md``. The constants of the bound are derived and not
fitted: this only measures how much room they leave. A disagreement is printed as a report and ends the run with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from hypothesis import given, seed

from moefuzz.harness.base.device import describe, one_thread, versions
from moefuzz.harness.base.hypothesis_profiles import drawn
from moefuzz.harness.failures import Failure
from moefuzz.harness.levels.cases import DTYPES, GroupedGemmCase
from moefuzz.harness.targets.registry import default_target
from moefuzz.harness.verdict.check import check
from moefuzz.strategies.regimes import REGIMES

PART = 1000  # examples
TURNS = [name for other in REGIMES["grouped_gemm"] if other not in ("any", "far") for name in ("any", other)]


def run_part(dtype: str, number: int) -> dict[str, Any]:
    """Run one part; return its number of distinct cases, and by tensor the largest share with its case; or a failure's report."""
    one_thread()
    regime, target = TURNS[number % len(TURNS)], replace(default_target(), dtypes=(dtype,))
    strategy = REGIMES["grouped_gemm"][regime](target)
    assert strategy is not None
    seen: set[GroupedGemmCase] = set()
    shares: dict[str, tuple[float, str]] = {}

    @seed(number)
    @drawn(PART)
    @given(strategy)
    def one(case: GroupedGemmCase) -> None:
        if case in seen:
            return
        for tensor, share in check(case).shares.items():
            shares[tensor] = max(shares.get(tensor, (-1.0, "")), (share, repr(case)))
        seen.add(case)

    try:
        one()
    except Failure as failure:
        return {"dtype": dtype, "part": number, "regime": regime, "failure": str(failure)}
    return {"dtype": dtype, "part": number, "regime": regime, "distinct": len(seen), "shares": shares}


def missing_parts(done: Iterable[dict[str, Any]], examples: int) -> list[tuple[str, int]]:
    """Return the (dtype, part) that are still to be run, dtypes in turn, until each has so many distinct examples."""
    lacking = dict.fromkeys(DTYPES, examples)
    after = dict.fromkeys(DTYPES, 0)
    for part in done:
        lacking[part["dtype"]] -= part["distinct"]
        after[part["dtype"]] = max(after[part["dtype"]], part["part"] + 1)
    wanted = [(after[dtype] + i, dtype) for dtype in DTYPES for i in range(-(-max(0, lacking[dtype]) // PART))]
    return [(dtype, number) for number, dtype in sorted(wanted)]


def table(parts: list[dict[str, Any]]) -> str:
    """Return a table of the largest shares over all parts, by tensor and dtype."""
    columns = [[part for part in parts if part["dtype"] == dtype] for dtype in DTYPES]
    lines = ["| | " + " | ".join(DTYPES) + " |", "|---|" + "---:|" * len(DTYPES)]
    lines.append("| distinct examples | " + " | ".join(f"{sum(part['distinct'] for part in column):,}" for column in columns) + " |")
    for tensor in ("Y", "dX", "dW"):
        most = [max((part["shares"][tensor][0] for part in column if tensor in part["shares"]), default=0.0) for column in columns]
        lines.append(f"| {tensor} | " + " | ".join(f"{share:.3f}" for share in most) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100_000, help="distinct examples of each dtype")
    parser.add_argument("--minutes", type=float, default=9.0, help="start no part after this time")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1) - 2))
    parser.add_argument("--results", type=Path, default=Path("calibration.jsonl"), help="one line for each finished part")
    options = parser.parse_args()
    parts = [json.loads(line) for line in options.results.read_text().splitlines()] if options.results.exists() else []
    print(f"{describe()}: {versions()}", flush=True)  # noqa: T201
    began, to_do, running = time.monotonic(), missing_parts(parts, options.examples), set[Future[dict[str, Any]]]()
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool, options.results.open("a") as file:
        while to_do or running:
            while to_do and len(running) < options.workers and time.monotonic() - began < 60 * options.minutes:
                running.add(pool.submit(run_part, *to_do.pop(0)))
            if not running:
                break
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for part in [future.result() for future in finished]:
                if "failure" in part:
                    print(part["failure"], flush=True)  # noqa: T201
                    pool.shutdown(wait=False, cancel_futures=True)
                    return 1
                parts.append(part)
                print(json.dumps(part), file=file, flush=True)
    print(table(parts))  # noqa: T201
    print(f"{time.monotonic() - began:.0f} s, {len(to_do)} parts left" + (": run it again" if to_do else ""))  # noqa: T201
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(main())
