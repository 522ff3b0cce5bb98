"""A declaration is plain data: the process that draws cases needs no code of the target."""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from moefuzz.harness.levels.cases import GroupedGemmCase
from moefuzz.harness.report.target_source import code_of
from moefuzz.harness.targets.registry import load_target
from moefuzz.harness.verdict.check import check
from moefuzz.strategies import grouped_gemm_cases
from moefuzz.tests.selftest.support.strategy_checks import minimal

IMPORTED = """
import os
with open("imported", "a") as file:
    file.write(f"{os.getpid()} {os.getppid()}\\n")

def kernel(X, W, m_sizes):
    raise ValueError("not today")
"""


@pytest.mark.parametrize("spec", ["triton", "torch_loop", "triton_experts"])
def test_a_declaration_says_all_but_the_function(spec: str) -> None:
    target = load_target(spec)
    declared = pickle.loads(pickle.dumps(target.declaration()))  # noqa: S301
    assert declared.is_declaration and not target.is_declaration
    assert dataclasses.replace(declared, function=target.function) == target
    assert declared.keywords == target.keywords and declared.permutes == target.permutes and declared.declared() == target.declared()
    with pytest.raises(TypeError, match="declaration"):
        declared.function()


def test_cases_are_drawn_and_checked_by_a_declaration() -> None:
    declared = load_target("triton").declaration()
    assert minimal(grouped_gemm_cases(declared)) == GroupedGemmCase((0,))
    assert check(GroupedGemmCase((1, 2)), declared).shares == {"Y": 0.0, "dX": 0.0, "dW": 0.0}, "without a worker it is loaded here"


def test_a_script_of_a_declaration_has_the_lines_of_the_target() -> None:
    target = load_target("torch_loop")
    assert code_of(target.declaration()) == code_of(target) is not None


@pytest.mark.heavy
def test_the_command_does_not_import_a_target(tmp_path: Path) -> None:
    (tmp_path / "is_imported.py").write_text(IMPORTED)
    command = [sys.executable, "-m", "moefuzz", "fuzz", "-t", "is_imported:kernel", "--examples", "3", "--report-dir", "r"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:  # noqa: S603
        said, _ = run.communicate(timeout=120)
    processes = [tuple(map(int, line.split())) for line in (tmp_path / "imported").read_text().splitlines()]
    assert run.returncode == 1 and "Raised ValueError" in said and processes, said
    assert run.pid not in {process for process, _ in processes} and os.getpid() not in {process for process, _ in processes}
    (report,) = (tmp_path / "r").glob("*/reproduce.py")
    assert "from is_imported import kernel as target" in report.read_text()
