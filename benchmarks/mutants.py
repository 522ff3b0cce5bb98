"""Mutation testing: how many mutants of our own kernels the suite kills and how soon, and how many a fixed grid with flat tolerances does.

    python benchmarks/mutants.py [--only TEXT] [--sample N] [--seeds 3] [--examples 200] [--workers 2] [--skip suite|grid]
                                 [--sanitize] [--results FILE] [--markdown FILE]

Each mutant runs in a separate process, which may crash or hang. Regime by regime, for each seed, examples are drawn until the mutant
fails. The first failure kills it; it survives if any seed finds none. A mutant that survives is either proven equivalent, in
``EQUIVALENT``, and not counted in the score, or it is a gap. The grid is ``fixed_grid.py``. ``--results`` saves each outcome, and does not
run again what the file holds. Exit code 1: a mutant survives that is not proven equivalent, or one is killed that is said to be.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import fixed_grid
from equivalent_mutants import EQUIVALENT
from hypothesis import given, seed
from isolated import Send, isolated
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from moefuzz.harness.base.hypothesis_profiles import drawn
from moefuzz.harness.failures import Failure
from moefuzz.harness.planted.mutants import Mutant, mutants
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.check import check
from moefuzz.harness.verdict.sanitizing import sanitizing

STAGES = (15, 60)  # examples of every regime before the full number: most mutants are killed early

Outcome = dict[str, Any]
"""suite: for each seed (regime, examples, kind, tier, case), or None if the mutant survived; grid: by tolerance, which point kills it."""


class KilledError(Exception):
    """Ends Hypothesis' search."""


def suite(mutant: Mutant, seeds: int, examples: int, sanitize: bool, send: Send) -> None:
    """Run the suite in the mutant's process: send a note before every example, and for each seed how the mutant was killed, or None."""
    from moefuzz.strategies.regimes import REGIMES

    targets = [mutant.target(level) for level in mutant.levels]
    regimes = [(name, target, regime(target)) for target in targets for name, regime in REGIMES[target.level].items()]
    for which in range(seeds):
        stages = itertools.product([most for most in STAGES if most < examples] + [examples], regimes)
        found = (first_failure(cases, target, most, which, name, send) for most, (name, target, cases) in stages if cases is not None)
        with sanitizing(sanitize):
            killed = next(filter(None, found), None)
        send(("seed", killed))
        if killed is None:
            return


def first_failure(strategy: Any, target: Target, most: int, which: int, regime: str, send: Send) -> tuple[str, int, str, str, str] | None:
    """Return (regime, examples, failure, tier, case) of the first failure among so many examples of one seed, or None."""
    count, killed = 0, None

    @seed(which)
    @drawn(most)
    @given(strategy)
    def attempt(case: Any) -> None:
        nonlocal count, killed
        if killed is not None:
            raise KilledError
        count += 1
        send(("example", regime, count))
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


def grid(mutant: Mutant | None, false_alarms: frozenset[Any] | None, send: Send) -> None:
    """Run the grid in the mutant's process: send what disagrees at each point, until both tolerances found it (never without alarms)."""
    from moefuzz.kernels.grouped_gemm import grouped_gemm

    function = mutant.target().function if mutant else grouped_gemm
    alive = set(fixed_grid.TOLERANCES)
    for point in fixed_grid.points():
        try:
            found = list(fixed_grid.disagreements(function, *point))
        except Exception:
            found = [(tensor, tolerance) for tensor in ("Y", "dX", "dW") for tolerance in alive]
        send((point, found))
        if false_alarms is not None:
            alive -= {tolerance for tensor, tolerance in found if (point, tensor, tolerance) not in false_alarms}
        if not alive:
            return


def outcome_of_suite(mutant: Mutant, seeds: int, examples: int, *, sanitize: bool) -> list[Any]:
    """Return for each seed how the mutant was killed; a crash or a hang ends the process and counts for the remaining seeds."""
    notes, ending = isolated(suite, mutant, seeds, examples, sanitize)
    outcomes = [note[1] for note in notes if note[0] == "seed"]
    last = next((note[1:] for note in reversed(notes) if note[0] == "example"), ("import", 0))
    return outcomes + ([(*last, ending, "", "")] * (seeds - len(outcomes)) if ending else [])


def outcome_of_grid(mutant: Mutant, false_alarms: frozenset[Any]) -> dict[str, Any]:
    """Return for each tolerance the point at which the fixed grid kills the mutant, or None."""
    notes, ending = isolated(grid, mutant, false_alarms)
    outcome: dict[str, Any] = {str(tolerance): ending or None for tolerance in fixed_grid.TOLERANCES}
    for point, found in reversed(notes):
        outcome |= {str(tolerance): [*point, tensor] for tensor, tolerance in found if (point, tensor, tolerance) not in false_alarms}
    return outcome


def alarms_on_right_kernels() -> frozenset[Any]:
    """Return (point, tensor, tolerance) at which the fixed grid fails on our own kernels; such points do not count as kills."""
    notes, ending = isolated(grid, None, None)
    if ending:
        raise SystemExit(f"the fixed grid on our own kernels ended in a {ending}")
    return frozenset((point, tensor, tolerance) for point, found in notes for tensor, tolerance in found)


def rows(chosen: list[Mutant], outcomes: dict[str, Outcome]) -> Iterator[str]:
    yield "| mutant | killed by | examples, by seed | failure | tier | grid 1e-3 | grid 1e-2 |"
    yield "|---|---|---|---|---|---|---|"
    for mutant in chosen:
        outcome = outcomes[mutant.name]
        first = next(filter(None, outcome.get("suite", [])), None)
        counts = ", ".join("-" if result is None else str(result[1]) for result in outcome.get("suite", []))
        regime, kind, tier = (first[0], first[2], first[3]) if first else ("**survived**", "", "")
        if mutant.name in EQUIVALENT:
            regime, counts = "equivalent: " + EQUIVALENT[mutant.name], ""
        grids = ["killed" if killed else "passed" for killed in outcome.get("grid", {}).values()] or ["", ""]
        yield f"| `{mutant.name.replace('|', chr(92) + '|')}` | {regime} | {counts} | {kind} | {tier} | {' | '.join(grids)} |"


def report(chosen: list[Mutant], outcomes: dict[str, Outcome], seeds: int, console: Console) -> bool:
    """Print the scores; return whether every mutant was killed or proven equivalent as expected."""
    say = lambda text: console.print(text, highlight=False, markup=False)
    live = [mutant.name for mutant in chosen if mutant.name not in EQUIVALENT]
    ran = {name: outcome["suite"] for name, outcome in outcomes.items() if "suite" in outcome}
    survived = [name for name in live if name in ran and not (len(ran[name]) >= seeds and all(ran[name]))]
    wrongly = [name for name in ran if name in EQUIVALENT and any(ran[name])]
    say(f"{len(live)} mutants, and {len(chosen) - len(live)} proven equivalent")
    if ran:
        killed = len(set(live) & set(ran)) - len(survived)
        say(f"suite: {killed} killed on each of {seeds} seeds, {killed / max(1, len(live)):.1%}")
        first = [results[0] for name, results in ran.items() if name in live and results[0]]
        say(f"  by kind {dict(Counter(r[2].split('_')[0] for r in first))}, by tier {dict(Counter(r[3] for r in first if r[3]))}")
        soon = sum(result[1] <= STAGES[0] for result in first)
        say(f"  by regime {dict(Counter(r[0] for r in first))}; {soon} within {STAGES[0]} examples of one of them")
    for tolerance in map(str, fixed_grid.TOLERANCES):
        grids = [outcomes[name]["grid"][tolerance] for name in live if "grid" in outcomes[name]]
        if grids:
            say(f"fixed grid at {tolerance}: {sum(map(bool, grids))} killed, {sum(map(bool, grids)) / len(grids):.1%}")
    for name in survived:
        say(f"survived: {name}")
    for name in wrongly:
        say(f"killed, though said to be equivalent: {name}" + (f" ({ran[name][0][2]})" if ran[name][0] else ""))
    return not survived and not wrongly


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="mutants whose name contains this")
    parser.add_argument("--sample", type=int, default=0, help="so many of them, evenly spread (default: all)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=200, help="examples of each regime and seed")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--skip", choices=("suite", "grid"), help="run the other alone")
    parser.add_argument("--sanitize", action="store_true", help="under the memory sanitizer, which may see what changes no result")
    parser.add_argument("--results", type=Path, help="keep outcomes in this file, and take from it what was run before")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    options = parser.parse_args()
    chosen = [mutant for mutant in mutants() if options.only in mutant.name]
    if options.sample:
        chosen = chosen[:: max(1, len(chosen) // options.sample)][: options.sample]
    began, console = time.monotonic(), Console()
    lines = options.results.read_text().splitlines() if options.results and options.results.exists() else []
    outcomes: dict[str, Outcome] = {mutant.name: {} for mutant in chosen}
    for name, outcome in map(json.loads, lines):
        outcomes.setdefault(name, {}).update(outcome)
    false_alarms = frozenset[Any]() if options.skip == "grid" else alarms_on_right_kernels()
    if false_alarms:
        points = {tolerance: len({point for point, _, t in false_alarms if t == tolerance}) for tolerance in fixed_grid.TOLERANCES}
        console.print(f"of {len(fixed_grid.points())} points of the fixed grid fail on our own kernels, by tolerance: {points}")

    def run(mutant: Mutant) -> tuple[Mutant, Outcome]:
        outcome: Outcome = {}
        if options.skip != "suite" and "suite" not in outcomes[mutant.name]:
            much = (
                (1, 5) if mutant.name in EQUIVALENT and not options.sanitize else (options.seeds, options.examples)
            )  # fewer examples for a mutant that is proven equivalent
            outcome["suite"] = outcome_of_suite(mutant, *much, sanitize=options.sanitize)
        gridded = options.skip != "grid" and mutant.levels == ("grouped_gemm",) and mutant.name not in EQUIVALENT
        if gridded and "grid" not in outcomes[mutant.name]:
            outcome["grid"] = outcome_of_grid(mutant, false_alarms)
        return mutant, outcome

    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("mutants", total=len(chosen))
        with ThreadPoolExecutor(options.workers) as pool:
            for future in as_completed([pool.submit(run, mutant) for mutant in chosen]):
                mutant, outcome = future.result()
                outcomes[mutant.name].update(outcome)
                if options.results and outcome:
                    with options.results.open("a") as file:
                        file.write(json.dumps([mutant.name, outcome]) + "\n")
                progress.advance(bar)
    right = report(chosen, outcomes, options.seeds, console)
    console.print(f"{time.monotonic() - began:.0f} s", highlight=False)
    if options.markdown:
        options.markdown.write_text("\n".join(rows(chosen, outcomes)) + "\n")
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
