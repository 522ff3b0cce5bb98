"""Measure for planted faults whose smallest case is known whether it is reached, and the time until the report is finished.

    python benchmarks/minima.py [--seeds 3] [--only NAME ...] [--reports FOLDER]

The faults are those of ``harness/planted/faults.py`` and ``process_faults.py``; each is fuzzed in the regime that triggers it, as
`moefuzz fuzz` does, until it fails as the table says (a fault may affect other tensors too). Those that can end a process run in a worker.
A race occurs only on a GPU. The time is that from the first example to the report, including the run of its script.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from rich.progress import track

from moefuzz.harness.base.device import describe, device, one_thread, versions
from moefuzz.harness.campaign.campaign import fuzz
from moefuzz.harness.campaign.reducing import Reduced
from moefuzz.harness.campaign.turn import Turn
from moefuzz.harness.levels.cases import Case
from moefuzz.harness.planted import process_faults
from moefuzz.harness.targets.registry import load_target
from moefuzz.harness.verdict.isolation import isolated
from moefuzz.strategies.regimes import REGIMES
from moefuzz.tests.selftest.planted import test_faults

SECONDS = 300.0
ONLY_ON_A_GPU = ("races_below_seventeen_deep",)
HANG = ("loops_on_odd_columns",)

Row = tuple[str, str, str, Case, bool]  # target, regime, class of the failure, its smallest case, whether it runs in a worker


def rows() -> Iterator[Row]:
    for name, (regime, failure, case) in test_faults.MINIMAL.items():
        yield f"moefuzz.harness.planted.faults:{name}", regime, failure, case, device().type == "cuda"
    for name, case in process_faults.MINIMAL.items():
        if device().type == "cuda" or name not in ONLY_ON_A_GPU:
            yield f"moefuzz.harness.planted.process_faults:{name}", "any", "", case, True


def first_found(spec: str, regime: str, failure: str, seed: int, folder: Path) -> tuple[Reduced | None, int]:
    """Return the first such failure with its report, and the number of examples until it was found."""
    examples, regimes = 0, {"grouped_gemm": {regime: REGIMES["grouped_gemm"][regime]}}
    for step in fuzz([load_target(spec)], SECONDS, regimes, reports=folder, seed=str(seed)):
        examples += step.examples if isinstance(step, Turn) else 0
        if isinstance(step, Reduced) and step.failure is not None and failure in type(step.failure).__name__:
            return step, examples
    return None, examples


def apart(spec: str, *, wanted: bool) -> AbstractContextManager[Any]:
    return isolated(10.0 if spec.endswith(HANG) else 60.0) if wanted else nullcontext()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[], help="faults by the end of their name")
    parser.add_argument("--reports", type=Path, default=None, help="keep the reports there")
    options = parser.parse_args()
    one_thread()
    folder = options.reports or Path(tempfile.mkdtemp())
    print(f"{describe()}: {versions()}\n")  # noqa: T201
    print("| fault | failure | smallest case | reached | examples | to the report, s |\n|---|---|---|---|---|---|")  # noqa: T201
    reached, slowest = [], {False: 0.0, True: 0.0}
    chosen = [row for row in rows() if not options.only or row[0].endswith(tuple(options.only))]
    for spec, regime, failure, case, alone in track(chosen, transient=True):
        line: list[tuple[str, str, str, str]] = []
        for seed in range(options.seeds):
            began = time.monotonic()
            with apart(spec, wanted=alone):
                step, examples = first_found(spec, regime, failure, seed, folder)
            if step is None or step.failure is None:
                line.append(("none", "no", str(examples), "-"))
                continue
            took = time.monotonic() - began
            slowest[alone] = max(took, slowest[alone])
            right = "yes" if step.failure.case == case else repr(step.failure.case)
            line.append((type(step.failure).__name__, right, str(examples), f"{took:.1f}"))
        reached += [right == "yes" for _, right, *_ in line]
        kinds, *others = (", ".join(column) for column in zip(*line, strict=True))
        kinds = ", ".join(dict.fromkeys(kinds.split(", ")))
        print(f"| `{spec.rpartition(':')[2]}` | {kinds} | `{case!r}` | {' | '.join(others)} |", flush=True)  # noqa: T201
    print(f"\n{sum(reached)} of {len(reached)} reached, {sum(reached) / max(len(reached), 1):.1%}")  # noqa: T201
    print(f"slowest report: {slowest[False]:.0f} s in this process, {slowest[True]:.0f} s in one of its own")  # noqa: T201


if __name__ == "__main__":
    main()
