"""``moefuzz describe``: what a target promises, and cases that would be drawn, without a call of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moefuzz.harness.levels.cases import case_from_repr
from moefuzz.harness.targets.registry import load_target

from .test_command_line import assert_refused, run

THEIRS = """
from moefuzz.harness.targets import Target

def never(X, W, m_sizes, topk=1, gather_indices=None, permute_x=False):
    raise AssertionError("it was called")

def never_experts(hidden_states, top_k_index, top_k_weights, gate_up_proj, down_proj, act):
    raise AssertionError("it was called")

limited = Target("limited", never, dtypes=("bfloat16",), k_multiple=8, strides=False, tail_rows="refused", autocast=False)
experts = Target("experts", never_experts, level="experts", acts=("silu",), zero_rows=False)
"""


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "described_theirs.py").write_text(THEIRS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cases_in(said: str) -> list[tuple[str, str]]:
    """(regime, case) of each line behind the last heading."""
    lines = said.split("cases that are drawn, among others\n")[1].splitlines()
    return [(regime.strip(), case) for regime, _, case in (line.partition(": ") for line in lines)]


@pytest.mark.usefixtures("theirs")
@pytest.mark.parametrize("attribute", ["limited", "experts", "never"])
def test_a_target_is_described_and_never_called(attribute: str) -> None:
    spec = f"described_theirs:{attribute}"
    said, target = run("describe", spec).stdout, load_target(spec)
    shown = cases_in(said)
    assert 12 <= len(shown) <= 14 and run("describe", spec).stdout == said
    for regime, text in shown:
        assert (target.limit_on(case_from_repr(text)) is not None) == regime.startswith("outside"), text
    assert {regime for regime, _ in shown} == {line[4:].split("  ")[0] for line in _under("regimes", said)}


def _under(heading: str, said: str) -> list[str]:
    return said.split(f"\n{heading}\n")[1].split("\n\n", maxsplit=1)[0].splitlines()


@pytest.mark.usefixtures("theirs")
def test_what_is_declared_is_said() -> None:
    said = run("describe", "described_theirs:limited").stdout
    for words in (
        "level     grouped_gemm, called as f(X, W, m_sizes)", "keywords  gather_indices, permute_x, topk", "devices   cpu and cuda",
        "declares  bfloat16, K % 8 == 0, contiguous, permutes, no tail, no autocast", "dtypes bfloat16; ", "k_multiple 8; ", "strides no; ",
        "beyond    it must raise an exception, or be right", "repeated               The same call gives the same bits",
        "no such cases by its declaration: regimes fused, tail, far",
        "no such cases by its declaration: relations other tiles, strides dropped, autocast, graph replayed",
    ):  # fmt: skip
        assert words in said
    assert run("describe", "triton_block", "torch_loop").stdout.count("cases that are drawn") == 2


def test_what_cannot_be_used_is_one_line(theirs: Path) -> None:
    assert_refused(run("describe"), "name a target, as mine:target")
    assert_refused(run("describe", "described_theirs:limitd"), "did you mean described_theirs:limited?")
    (theirs / "pyproject.toml").write_text("[tool.moefuzz]\ntargets = ['described_theirs:experts']")
    done = run("describe")
    assert done.exit_code == 0 and done.stdout.startswith("described_theirs:experts\n")


def test_a_file_of_kernels_is_imported_under_the_interpreter_where_there_is_no_gpu(tmp_path: Path) -> None:
    looks = "import os\nassert os.environ.get('TRITON_INTERPRET') == '1', 'not chosen yet'\ndef kernel(X, W, m_sizes): ...\n"
    (tmp_path / "looks.py").write_text(looks)
    command = [sys.executable, "-m", "moefuzz.harness", "describe", "looks:kernel"]
    without = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=tmp_path, env=without, capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, done.stderr) == (0, "")
