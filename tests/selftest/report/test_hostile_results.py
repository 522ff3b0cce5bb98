"""What a target returns may be anything: it never runs in the process that draws cases, and the failure has its report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from moefuzz.harness.levels.cases import GroupedGemmCase
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.check import failure_of
from moefuzz.harness.verdict.checked import checked_of, packed


class Named(torch.Tensor):
    """A subclass of the module of a target, with code of its own in a pickle."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise SystemExit(protocol)


class Odd:
    def __reduce__(self) -> str:
        raise ZeroDivisionError


def loop(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    return torch.cat([x @ w.T for x, w in zip(X.split(m_sizes.tolist()), W, strict=True)]) + 1


@pytest.mark.parametrize(
    ("result", "tensor_is_kept"),
    [
        (loop, True),
        (lambda X, W, m_sizes: loop(X, W, m_sizes).as_subclass(Named), True),
        (lambda X, W, m_sizes: Odd(), False),
        (lambda X, W, m_sizes: loop(X, W, m_sizes).to_sparse(), False),
        (lambda X, W, m_sizes: loop(X, W, m_sizes).to("meta"), False),
    ],
    ids=["plain", "subclass", "no tensor", "sparse", "meta"],
)
def test_what_leaves_a_worker_holds_nothing_of_the_target(result: object, tensor_is_kept: bool) -> None:
    failure = failure_of(GroupedGemmCase((1, 1), grads=""), Target("odd", result, backward=False))  # type: ignore[arg-type]
    assert failure is not None
    failure.checked = packed(failure)
    assert isinstance(failure.checked, bytes) and __name__.encode() not in failure.checked
    checked = checked_of(failure)
    assert checked is not None and (type(checked.claims[0].got) is torch.Tensor) == tensor_is_kept


def test_what_cannot_be_read_counts_as_nothing() -> None:
    failure = failure_of(GroupedGemmCase((1, 1)), Target("odd", loop))
    assert failure is not None
    failure.checked = b"no pickle"
    assert checked_of(failure) is None and failure.checked is None


KILLS = """
import os, torch

class Killer(torch.Tensor):
    def __reduce_ex__(self, protocol):
        return os._exit, (7,)

def kernel(X, W, m_sizes):
    return (torch.cat([x @ w.T for x, w in zip(X.split(m_sizes.tolist()), W)]) + 1).as_subclass(Killer)
"""


@pytest.mark.heavy
def test_a_result_that_would_end_the_process_that_reads_it_is_reported(tmp_path: Path) -> None:
    (tmp_path / "kills.py").write_text(KILLS)
    command = [
        sys.executable,
        "-m",
        "moefuzz",
        "fuzz",
        "-t",
        "kills.py:kernel",
        "--examples",
        "10",
        "--max-failures",
        "1",
        "--report-dir",
        "r",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 1 and len(list((tmp_path / "r").glob("*/report.md"))) == 1, done.stdout + done.stderr
