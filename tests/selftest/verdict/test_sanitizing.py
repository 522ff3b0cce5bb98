"""Cases under the sanitizer: what it finds is a failure of its own, minimised, sent, known, replayed."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import triton
import triton.language as tl
from typer.testing import CliRunner

from moefuzz.harness.base.device import device
from moefuzz.harness.cli import commands, replay_command
from moefuzz.harness.failures import Failure
from moefuzz.harness.levels.cases import ExpertsCase, GroupedGemmCase
from moefuzz.harness.levels.level import NoScript
from moefuzz.harness.report.script import script
from moefuzz.harness.targets import Target
from moefuzz.harness.targets.registry import load_target
from moefuzz.harness.verdict.check import check, failure_of
from moefuzz.harness.verdict.isolation import isolated
from moefuzz.harness.verdict.sanitizing import run_watched, sanitizing
from moefuzz.kernels import triton_interpreter
from moefuzz.kernels.reference import grouped_gemm_reference
from moefuzz.strategies.regimes import any_cases
from moefuzz.tests.selftest.support.strategy_checks import found_by_fuzzing

pytestmark = pytest.mark.skipif(device().type == "cuda", reason="Triton's interpreter is not in force")
RACES, RACED = "moefuzz.harness.planted.process_faults:races_below_seventeen_deep", GroupedGemmCase((1,), K=17)

triton_interpreter.repair()


@triton.jit
def touch(y_ptr, row, n, BLOCK: tl.constexpr) -> None:
    r = tl.arange(0, BLOCK)
    y = tl.load(y_ptr + row * n + r)
    tl.store(y_ptr + row * n + r, y, mask=r < n)


def touching(row: int) -> Target:
    """Right, but for a kernel that loads too much of a row of its output."""

    def call(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
        Y = grouped_gemm_reference(X, W, m_sizes, 1)
        if len(Y) > row:
            touch[(1,)](Y.detach(), row, Y.shape[1], BLOCK=4)
        return Y

    return Target("touching", call)


def found(target: Target, case: GroupedGemmCase) -> Failure | None:
    with sanitizing():
        return failure_of(case, target)


@pytest.mark.heavy
def test_a_race_is_found_where_programs_run_one_after_the_other_and_minimised() -> None:
    assert failure_of(RACED, load_target(RACES)) is None
    with sanitizing():
        failure = next(found_by_fuzzing(load_target(RACES), 20.0, any_cases))
    assert failure.case == RACED and str(failure.kind) == "Race _add_without_atomics.y_ptr"
    assert "against the store of program 0" in failure.finding and "expert 0, its row 0" in failure.finding
    assert f"moefuzz replay --sanitize --target {RACES}" in str(failure)


def test_a_finding_names_expert_and_tile() -> None:
    failure = found(touching(17), GroupedGemmCase((1, 17), N=3))
    assert failure is not None and str(failure.kind) == "OutOfBounds touch.y_ptr"
    assert "1 element behind y_ptr" in failure.finding
    inside = found(touching(16), GroupedGemmCase((1, 17), N=3))
    assert inside is None, "a row further on is inside"


def test_a_finding_goes_before_what_came_of_it_and_can_be_sent() -> None:
    def wrong() -> None:
        y = torch.zeros(4)
        touch[(1,)](y, 1, 4, BLOCK=4)
        raise Failure(RACED, "t", "NaN")

    with sanitizing(), pytest.raises(Failure, match="4 elements in all") as info:
        run_watched(wrong, RACED, Target("t", wrong))
    sent = copy.copy(info.value)
    assert type(sent) is type(info.value) and sent.bucket == ("t", "OutOfBounds touch.y_ptr", None, None)
    with pytest.raises(NoScript, match="sanitizer saw it"):
        script(sent, load_target(RACES))


@pytest.mark.heavy
def test_a_worker_sanitizes_as_well() -> None:
    with isolated(30.0), sanitizing():
        failure = failure_of(RACED, load_target(RACES))
    assert failure is not None and failure.kind.base == "Race"


def test_right_targets_of_each_level_pass() -> None:
    with sanitizing():
        check(GroupedGemmCase((3, 0, 18), N=17, K=5, topk=1, tail_rows=2, dtype="bfloat16"), load_target("triton"))
        check(ExpertsCase((2, 1)), load_target("triton_experts"))
        check(GroupedGemmCase((2,), x_layout="far"), load_target("triton"))


def test_replay_says_what_the_sanitizer_says(monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(commands.app, ["replay", "--sanitize", "-t", RACES, repr(RACED)])
    assert done.exit_code == 1 and done.stdout.startswith("Race _add_without_atomics.y_ptr: line ")
    assert CliRunner().invoke(commands.app, ["replay", "-t", RACES, repr(RACED)]).exit_code == 0
    monkeypatch.setattr(replay_command, "why_not", lambda: "no interpreter")
    refused = CliRunner().invoke(commands.app, ["replay", "--sanitize", "-t", RACES, repr(RACED)])
    assert refused.exit_code == 2 and refused.stderr == "moefuzz: no interpreter\n"


SCRIPT = """
import sys, torch, triton, triton.language as tl

@triton.jit
def add(x_ptr, n, BLOCK: tl.constexpr):
    r = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + r, mask=r < n, other=0.0)
    tl.store(x_ptr + r, x, mask=r < int(sys.argv[1]))

add[(2,)](torch.arange(13.0), 13, BLOCK=8)
if sys.argv[1] == "0":
    raise ValueError("no")
"""


@pytest.mark.parametrize(
    ("bound", "code", "says"), [("13", 0, "nothing found"), ("16", 1, "1 finding\n"), ("0", 2, "nothing found until then")]
)
def test_a_script_is_run_under_the_sanitizer(bound: str, code: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [])
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    (tmp_path / "script.py").write_text(SCRIPT)
    done = CliRunner().invoke(commands.app, ["sanitize", "--coverage", str(tmp_path / "script.py"), "--", bound])
    assert done.exit_code == code and says in done.stdout and "add" in done.stdout
    assert ("OutOfBounds in add, line 8, program 1: store to 1 element behind x_ptr" in done.stdout) == (code == 1)
    assert CliRunner().invoke(commands.app, ["sanitize", str(tmp_path / "none.py")]).exit_code == 2


SCRIPTS = {
    "print('done')": (0, "nothing found: no Triton kernel was launched", ""),
    "import sys\nsys.exit('bad')": (2, "nothing found until then", "moefuzz: script.py ended with exit status bad"),
    "def f(): raise ValueError('no')\nf()": (2, "nothing found until then", "moefuzz: script.py raised ValueError"),
    "print('x'": (2, "nothing found until then", "moefuzz: script.py raised SyntaxError"),
    "\0": (2, "nothing found until then", "moefuzz: script.py raised SyntaxError"),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_of_a_script_that_goes_wrong_its_own_lines_are_shown(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = SCRIPTS[script]
    monkeypatch.setattr("sys.argv", [])
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    monkeypatch.chdir(tmp_path)
    Path("script.py").write_text(script)
    done = CliRunner().invoke(commands.app, ["sanitize", "script.py"])
    assert done.exit_code == code and done.stdout.endswith(f"{out}\n") and done.stderr.endswith(err and f"{err}\n")
    assert "runpy" not in done.stderr and "sanitize_script" not in done.stderr
