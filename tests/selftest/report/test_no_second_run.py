"""What ``check`` had of a failing case travels with its failure, so that a report needs no further call of the target."""

from __future__ import annotations

import functools
import os
import pickle
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from moefuzz.harness.failures import Failure
from moefuzz.harness.levels.cases import GroupedGemmCase
from moefuzz.harness.reduction.explain import Explanation
from moefuzz.harness.report import write as writing
from moefuzz.harness.targets.registry import load_target
from moefuzz.harness.verdict import checked as checking
from moefuzz.harness.verdict.check import failure_of
from moefuzz.harness.verdict.checked import checked_of, packed
from moefuzz.harness.verdict.isolation import confirmed, isolated

COUNTED = """
import os
import torch

def loop(X, W, m_sizes):
    with open(os.environ["COUNTED_CALLS"], "a") as file:
        file.write("x")
    ends = m_sizes.cumsum(0).tolist()
    return torch.cat([X[start:end] @ W[e].T for e, (start, end) in enumerate(zip([0, *ends[:-1]], ends))])

def wrong(X, W, m_sizes):
    return loop(X, W, m_sizes) + (len(m_sizes) > 1)

def mixes(X, W, m_sizes):
    return loop(X, W, m_sizes) + 0 * W.sum()
"""
TWO = GroupedGemmCase((1, 1), K=2)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a letter for each call of the targets of ``counted_targets``."""
    folder = tmp_path_factory.mktemp("counted")
    (folder / "counted_targets.py").write_text(COUNTED)
    sys.path.append(str(folder))
    os.environ["COUNTED_CALLS"] = str(folder / "calls")
    return folder / "calls"


@pytest.mark.parametrize("where", [nullcontext, isolated])
@pytest.mark.parametrize(
    ("name", "relation", "title"),
    [
        ("wrong", "", "WrongValue of Y"),
        ("wrong", "foreign weights NaN", "WrongValue of Y"),
        ("mixes", "foreign weights NaN", "BrokenRelation of Y"),
    ],
)
def test_a_report_needs_no_call_of_the_target(
    where: Callable[[], AbstractContextManager[object]],
    name: str,
    relation: str,
    title: str,
    calls: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writing, "shows", lambda *_: "")  # the script, in a process of its own
    target = load_target(f"counted_targets:{name}")
    fails = functools.partial(failure_of, target=target)
    with where():
        found = fails(GroupedGemmCase((1, 1), K=2, relation=relation))
        assert found is not None
        failure = confirmed(found, fails, target)
        assert failure.title == title and calls.read_text()
        calls.write_text("")
        report = writing.write(failure, target, tmp_path, Explanation())
    assert calls.read_text() == ""
    assert (report / "reproduce.py").exists()
    assert ("| Y | forward |" in (report / "report.md").read_text()) and (report / "mismatch.png").exists() == (
        title != "BrokenRelation of Y"
    )


def found_by(name: str) -> Failure:
    failure = failure_of(TWO, load_target(f"counted_targets:{name}"))
    assert failure is not None
    return failure


def test_what_travels_from_another_process_is_what_was_there(calls: Path) -> None:
    assert calls
    failure = found_by("wrong")
    here = checked_of(failure)
    failure.checked = packed(failure)
    there = checked_of(pickle.loads(pickle.dumps(failure)))  # noqa: S301
    assert here is not None and there is not None and there.problem.case == TWO and there.result is None
    assert [claim.tensor for claim in there.claims] == [claim.tensor for claim in here.claims] == ["Y", "dX", "dW"]
    assert all((one.reference == other.reference).all() for one, other in zip(here.claims, there.claims, strict=True))


def test_a_large_case_stays_where_it_is(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert calls
    monkeypatch.setattr(checking, "MOST_ELEMENTS", TWO.elements - 1)
    failure = found_by("wrong")
    assert packed(failure) is None and checked_of(failure) is not None
