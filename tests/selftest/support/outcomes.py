"""Outcomes of runs: drawn ones, in which a target says what a terminal, XML, Markdown or GitHub could obey, and a plain one."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any, get_type_hints

from hypothesis import strategies as st

from moefuzz.harness.report.formats import rendered
from moefuzz.harness.report.formats.sarif import KINDS
from moefuzz.harness.run_log.outcome import RegimeCount, ReportedFailure, RunOutcome

HOSTILE = (
    "::error::x",
    "\n::add-mask::a",
    "##[error]",
    "]]>",
    "`",
    "```\n",
    "|",
    "<b>&",
    "%0A",
    "\x1b[2J",
    "\0",
    "\ufffe",
    "](x)",
    "*a*",
    " _a_ ",
    ",title=x",
    "\n ::warning::b",
    "\n# ",
)


def joined(text: str) -> str:
    """Two surrogates that stand for one character as this character: JSON does not tell them apart."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


TEXTS = st.lists(st.text(st.characters(), max_size=5) | st.sampled_from(HOSTILE), max_size=4).map("".join).map(joined)
AMOUNTS = st.floats(0, 1e6)
TARGETS = st.sampled_from(["mine:kernel", "pkg.mod:a|`b`,c=d\n::error::\x1b", "\ud800"])
OF_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXTS,
    str | None: st.none() | TEXTS,
    int: st.integers(0, 10**6),
    float: AMOUNTS,
    bool: st.booleans(),
    tuple[str, ...]: st.lists(TEXTS, max_size=2).map(tuple),
}


def drawn(made: Any, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values of a dataclass: ``fields``, and the others by their types."""
    return st.builds(made, **{name: fields[name] if name in fields else OF_TYPE[hint] for name, hint in get_type_hints(made).items()})


REGIMES = st.sampled_from(["exact", "far", "a|b\n"])
FAILURES = drawn(
    ReportedFailure, target=TARGETS, regime=REGIMES, kind=st.sampled_from([*KINDS, "Raised A](b)"]) | TEXTS | st.just("K" * 2000)
)
COUNTS = drawn(RegimeCount, target=TARGETS, regime=REGIMES, share=AMOUNTS | st.just(math.inf))
OUTCOMES = drawn(
    RunOutcome,
    targets=st.lists(TARGETS, unique=True, max_size=2).map(tuple),
    status=st.sampled_from([0, 1, 3, 4, 5, 130]),
    regimes=st.lists(COUNTS, unique_by=lambda one: (one.target, one.regime), max_size=3).map(tuple),
    failures=st.lists(FAILURES, max_size=3).map(tuple),
    unreached=st.lists(st.tuples(TARGETS, REGIMES), max_size=2).map(tuple),
)

FAILURE = ReportedFailure(
    "mine:kernel", "grouped_gemm", "far", "WrongValue", "Y",
    finding="Y is wrong at row 0: got 1, expected 2",
    case="GroupedGemmCase(m_sizes=(1,), K=3)",
    text="WrongValue: Y is wrong\n    case      GroupedGemmCase(m_sizes=(1,), K=3)",
    replay="moefuzz replay --target mine:kernel X",
    report="moefuzz-reports/8c87fac4",
)  # fmt: skip
COUNT = RegimeCount("mine:kernel", "grouped_gemm", "far", examples=12, failing=3, seconds=1.25, share=0.5, share_tensor="dX")
RUN = RunOutcome(
    ("mine:kernel",), "a CPU", "Python 3.12", 7, 20.0, 1,
    regimes=(replace(COUNT, regime="exact", failing=0), COUNT),
    failures=(FAILURE,),
    unreached=(("mine:kernel", "any"),),
)  # fmt: skip
CLEAN = replace(RUN, status=0, regimes=RUN.regimes[:1], failures=())


def results_of(*reported: ReportedFailure) -> list[Any]:
    """The results of SARIF for failures."""
    return list(json.loads(rendered(replace(RUN, failures=reported), "sarif"))["runs"][0]["results"])
