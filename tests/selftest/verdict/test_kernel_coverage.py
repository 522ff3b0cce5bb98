"""What kernels reached over the cases of a run, by target: in this process, in a worker, in a run of pytest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import triton
import triton.language as tl
from typer.testing import CliRunner

from moefuzz.harness import sanitize
from moefuzz.harness.base.device import device
from moefuzz.harness.cli import chosen, commands
from moefuzz.harness.levels.cases import ExpertsCase, GroupedGemmCase
from moefuzz.harness.sanitizer.coverage import coverage
from moefuzz.harness.targets.registry import load_target
from moefuzz.harness.verdict.check import check
from moefuzz.harness.verdict.isolation import isolated
from moefuzz.harness.verdict.kernel_coverage import Covered, covering, tables
from moefuzz.kernels import triton_interpreter

pytestmark = pytest.mark.skipif(device().type == "cuda", reason="Triton's interpreter is not in force")
ROOT = Path(__file__).parents[3]
OWN = "moefuzz.kernels.grouped_gemm:grouped_gemm"
SCHEDULE, ROWS, DW = "_tile_schedule_kernel", "_grouped_gemm_rows_kernel", "_grouped_gemm_dw_kernel"

triton_interpreter.repair()


@triton.jit
def branches_on_a_dead_lane(x_ptr, y_ptr) -> None:
    x = tl.load(x_ptr, mask=tl.program_id(0) > 0)
    if x > 100:
        tl.store(y_ptr, x)


def names(covered: Covered, target: str) -> list[str]:
    return [function.name for function in covered[target].functions]


def test_cases_of_a_target_add_up_and_targets_stay_apart() -> None:
    reached: Covered = {}
    with covering(reached):
        check(GroupedGemmCase((16,), N=16, K=16, grads=""), load_target("triton"))
        _, rows = reached["triton"].functions.values()
        one_case = set(rows.left_out())
        check(GroupedGemmCase((3,), N=5, K=16), load_target("triton"))
        check(ExpertsCase((2, 1)), load_target("triton_experts"))
        check(GroupedGemmCase((3,)), load_target("torch_loop"))
    assert list(reached) == ["triton", "triton_experts", "torch_loop"]
    assert names(reached, "triton") == [SCHEDULE, ROWS, DW] and names(reached, "torch_loop") == []
    assert set(rows.left_out()) < one_case
    assert [*tables(reached)][2] == "reached in torch_loop: no Triton kernel ran\n"


def test_another_run_for_the_sanitizers_sake_reaches_nothing() -> None:
    with coverage() as reached, sanitize() as findings:
        branches_on_a_dead_lane[(1,)](torch.zeros(1), torch.zeros(1))
    ((function, each),) = reached.functions.items()
    assert f"line {function.line + 2}: if never true" in each.left_out()
    assert len(findings) == 1, "though the other run went there"


@pytest.mark.heavy
def test_a_worker_says_what_it_reached() -> None:
    reached: Covered = {}
    with isolated(30.0), covering(reached):
        check(GroupedGemmCase((3,)), load_target("triton"))
        check(GroupedGemmCase((17,)), load_target("triton"))
    assert names(reached, "triton") == [SCHEDULE, ROWS, DW]


def test_a_fuzz_run_prints_a_table_for_each_target(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arguments = ["fuzz", "--coverage", "--time", "2s", "--no-isolate", "-t", OWN, "--report-dir", str(tmp_path)]
    done = CliRunner().invoke(commands.app, arguments)
    assert done.exit_code == 0 and f"reached in {OWN}" in done.stdout
    assert re.search(rf"{ROWS} +\d+/\d+ +\d+/\d+ +\d+/\d+", done.stdout)
    monkeypatch.setattr(chosen, "why_not", lambda what: f"{what} needs it")
    refused = CliRunner().invoke(commands.app, arguments)
    assert refused.exit_code == 2 and refused.stderr == "moefuzz: --coverage needs it\n"
    long = CliRunner().invoke(commands.app, [*arguments, "--workers", "2"])
    assert long.exit_code == 2 and long.stderr == "moefuzz: --coverage is for a short run\n"


@pytest.mark.heavy
@pytest.mark.parametrize("processes", [(), ("-n", "2")], ids=["one", "xdist"])
def test_a_run_of_pytest_prints_a_table_for_each_target(processes: tuple[str, ...]) -> None:
    chosen = ["tests/properties/test_grouped_gemm.py", "-k", "any_subset", "--moe-target", "triton", "--moe-target", "torch_loop"]
    run = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--hypothesis-profile=ci", "--moe-coverage", *chosen, *processes]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ)  # noqa: S603
    assert done.returncode == 0, done.stdout
    assert "moefuzz: what kernels reached" in done.stdout and "reached in triton " in done.stdout
    assert "reached in torch_loop: no Triton kernel ran" in done.stdout
    assert re.search(rf"{ROWS} +\d+/\d+", done.stdout)
