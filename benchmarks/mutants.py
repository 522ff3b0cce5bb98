"""Detection power: how many mutants of our own kernels the suite kills, and how soon.

    python benchmarks/mutants.py [--only TEXT] [--sample N] [--seeds 3] [--examples 200] [--workers 2] [--markdown FILE]

Each mutant runs in a process of its own, which may crash or hang. Regime by regime, for each seed, examples are drawn until the mutant
fails; it is killed by the first failure. A mutant that survives is either proven equivalent, in ``EQUIVALENT``, or a gap. Exit code 1
where a mutant survives that is not proven equivalent.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from equivalent_mutants import EQUIVALENT
from hypothesis import HealthCheck, Phase, given, seed, settings
from rich.console import Console
from rich.progress import Progress

from moefuzz.harness.check import check
from moefuzz.harness.failures import Failure
from moefuzz.harness.mutants import Mutant, mutants
from moefuzz.harness.targets import Target

STAGES = (15, 60)  # examples of every regime, before the full number: most mutants die at once
SECONDS_AN_EXAMPLE = 120.0  # longer is a hang


class KilledError(Exception):
    """Ends Hypothesis' search."""


def kills(mutant: Mutant, seeds: int, examples: int, pipe: Connection) -> None:
    """In the mutant's process: send a note for every example, then for each seed how the mutant was killed, or None."""
    from moefuzz.strategies.regimes import REGIMES

    target = mutant.target()
    strategies = {name: regime(target) for name, regime in REGIMES["grouped_gemm"].items()}
    for which in range(seeds):
        stages = [(most, name, strategy) for most in (*STAGES, examples) for name, strategy in strategies.items() if strategy is not None]
        found = (first_failure(strategy, target, most, which, name, pipe) for most, name, strategy in stages)
        pipe.send(("seed", which, next(filter(None, found), None)))
    pipe.send(("done",))


def first_failure(
    strategy: Any, target: Target, most: int, which: int, regime: str, pipe: Connection
) -> tuple[str, int, str, str, str] | None:
    """(regime, examples, failure, tier, case) of the first failure among so many examples of one seed."""
    count, killed = 0, None

    @seed(which)
    @settings(
        max_examples=most,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(strategy)
    def attempt(case: Any) -> None:
        nonlocal count, killed
        if killed is not None:
            raise KilledError
        count += 1
        pipe.send(("example", which, regime, count))
        try:
            check(case, target)
        except Failure as failure:
            tier = "" if failure.mismatch is None else "exact" if failure.mismatch.bound == 0 else "bound"
            killed = (regime, count, type(failure).__name__, tier, repr(failure.case))
            raise KilledError from None

    try:
        attempt()
    except KilledError:
        return killed
    return None


def fate(mutant: Mutant, seeds: int, examples: int) -> list[Any]:
    """For each seed (regime, examples, kind, tier, case), or None where the mutant survived."""
    context = multiprocessing.get_context("forkserver")
    outcomes: list[Any] = []
    while len(outcomes) < seeds:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=kills, args=(mutant, seeds, examples, theirs), daemon=True)
        process.start()
        theirs.close()
        last, kind = ("example", 0, "import", 0), "Crash"
        try:
            while True:
                if not ours.poll(SECONDS_AN_EXAMPLE):
                    kind = "Hang"
                    break
                note = ours.recv()
                if note[0] == "done":
                    return outcomes
                if note[0] == "seed":
                    outcomes.append(note[2])
                else:
                    last = note
        except EOFError:
            pass
        process.kill()
        process.join()
        # A crash or a hang ends the process: it stands for the seeds that are left, too.
        outcomes += [(last[2], last[3], kind, "", "")] * (seeds - len(outcomes))
    return outcomes


def rows(chosen: list[Mutant], outcomes: dict[str, list[Any]]) -> Iterator[str]:
    yield "| mutant | killed by | examples, by seed | failure | tier |"
    yield "|---|---|---|---|---|"
    for mutant in chosen:
        results = outcomes[mutant.name]
        first = next((result for result in results if result), None)
        counts = ", ".join("-" if result is None else str(result[1]) for result in results)
        fields = ("equivalent: " + EQUIVALENT[mutant.name], "", "") if mutant.name in EQUIVALENT else ("**survived**", "", "")
        shown = (first[0], first[2], first[3]) if first else fields
        yield f"| `{mutant.name.replace('|', chr(92) + '|')}` | {shown[0]} | {counts} | {shown[1]} | {shown[2]} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="mutants whose name contains this")
    parser.add_argument("--sample", type=int, default=0, help="so many of them, evenly spread (default: all)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=200, help="examples of each regime and seed")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    parser.add_argument("--json", type=Path, help="write all outcomes to this file")
    options = parser.parse_args()
    chosen = [mutant for mutant in mutants() if options.only in mutant.name]
    if options.sample:
        chosen = chosen[:: max(1, len(chosen) // options.sample)][: options.sample]
    began, console, outcomes = time.monotonic(), Console(), {}
    multiprocessing.get_context("forkserver").set_forkserver_preload(["moefuzz.strategies.regimes", "moefuzz.harness.check"])
    with Progress(console=console, transient=True) as progress, ThreadPoolExecutor(options.workers) as pool:
        bar = progress.add_task("mutants", total=len(chosen))
        for mutant, outcome in zip(chosen, pool.map(lambda m: fate(m, options.seeds, options.examples), chosen), strict=True):
            outcomes[mutant.name] = outcome
            progress.advance(bar)
            if not all(outcome):
                console.print(f"survived: {mutant.name}", highlight=False, markup=False)
    survived = [mutant.name for mutant in chosen if not all(outcomes[mutant.name]) and mutant.name not in EQUIVALENT]
    wrongly = [mutant.name for mutant in chosen if any(outcomes[mutant.name]) and mutant.name in EQUIVALENT]
    counted = len(chosen) - sum(mutant.name in EQUIVALENT for mutant in chosen)
    first = [result for results in outcomes.values() for result in results[:1] if result]
    console.print(f"{counted - len(survived)} of {counted} mutants killed on each of {options.seeds} seeds", highlight=False)
    console.print(f"{len(chosen) - counted} equivalent; {time.monotonic() - began:.0f} s", highlight=False)
    console.print(f"by kind {dict(Counter(r[2].split('_')[0] for r in first))}, by tier {dict(Counter(r[3] for r in first if r[3]))}")
    for name in wrongly:
        console.print(f"killed, though said to be equivalent: {name}", highlight=False, markup=False)
    if options.markdown:
        options.markdown.write_text("\n".join(rows(chosen, outcomes)) + "\n")
    if options.json:
        options.json.write_text(json.dumps(outcomes, indent=1))
    return 1 if survived or wrongly else 0


if __name__ == "__main__":
    raise SystemExit(main())
