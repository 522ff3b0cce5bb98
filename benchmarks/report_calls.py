"""How often a target is called for the report of its smallest failure, between its last run by ``check`` and the written folder.

    python benchmarks/report_calls.py

The script of the report is not counted: it is a process of its own. Each failure is reported once where cases run in this process and once
where a worker runs them.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from moefuzz.harness.levels.cases import GroupedGemmCase
from moefuzz.harness.reduction.explain import Explanation
from moefuzz.harness.report import write as writing
from moefuzz.harness.targets.registry import load_target
from moefuzz.harness.verdict.check import failure_of
from moefuzz.harness.verdict.isolation import confirmed, isolated

TARGETS = """
import os
import torch

def loop(X, W, m_sizes):
    with open(os.environ["COUNTED_CALLS"], "a") as file:
        file.write("x")
    ends = m_sizes.cumsum(0).tolist()
    return torch.cat([X[start:end] @ W[e].T for e, (start, end) in enumerate(zip([0, *ends[:-1]], ends))])

def wrong_beside_another_expert(X, W, m_sizes):
    return loop(X, W, m_sizes) + (len(m_sizes) > 1)

def mixes_foreign_experts(X, W, m_sizes):
    return loop(X, W, m_sizes) + 0 * W.sum()
"""
CASES = (
    ("wrong_beside_another_expert", GroupedGemmCase((1, 1), K=2)),
    ("mixes_foreign_experts", GroupedGemmCase((1, 1), K=2, relation="foreign weights NaN")),
)


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="moefuzz-"))
    (folder / "counted_targets.py").write_text(TARGETS)
    sys.path.append(str(folder))
    calls = folder / "calls"
    os.environ["COUNTED_CALLS"] = str(calls)
    writing.shows = lambda *_: ""  # type: ignore[assignment]
    for name, case in CASES:
        target = load_target(f"counted_targets:{name}")
        fails = functools.partial(failure_of, target=target)
        for where in (nullcontext, isolated):
            with where():
                found = fails(case)
                assert found is not None
                failure = confirmed(found, fails, target)
                calls.write_text("")
                writing.write(failure, target, folder / "reports", Explanation())
            place = "in a worker" if where is isolated else "in this process"
            sys.stdout.write(f"{failure.title} of {name}, {place}: {len(calls.read_text())} calls for its report\n")


if __name__ == "__main__":
    main()
