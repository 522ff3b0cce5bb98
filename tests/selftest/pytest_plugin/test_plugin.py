"""The pytest plugin as a user meets it: exit codes, one-line errors, the header, and the report of a failing kernel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from moefuzz.harness.base.device import device

ROOT = Path(__file__).parents[3]
PROPERTIES = ROOT / "tests" / "properties"


def run_pytest(*arguments: str, cwd: Path = ROOT, **environment: str) -> tuple[int, str]:
    """Exit code and output of pytest in a process of its own."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    plain = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}  # which this process has set
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**plain, **environment}, check=False)  # noqa: S603
    return done.returncode, done.stdout + done.stderr


@pytest.mark.skipif(device().type == "cuda", reason="there is a GPU")
def test_the_gpu_profile_without_a_gpu_says_so_and_exits_2() -> None:
    code, text = run_pytest("--hypothesis-profile=gpu")
    assert code == 2 and "profile 'gpu' needs a CUDA GPU, but targets run on: CPU, Triton's interpreter" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--hypothesis-profile=gup",), "no Hypothesis profile 'gup', known are default, dev, ci, gpu, soak"),
        (("--moe-target", "nonesuch:f"), "importing nonesuch failed with ModuleNotFoundError"),
        (("--moe-target", "nonesuch"), "must have the form pkg.mod:attr"),
        (("--moe-target", "math:tau2"), "module math has no attribute 'tau2'"),
        (("--moe-target", "math:tau"), "module math has no callable 'tau'"),
        (("--moe-report-dir", "README.md/reports"), "README.md is no folder"),
    ],
    ids=["profile", "module", "form", "attribute", "callable", "reports"],
)
def test_a_wrong_argument_is_one_line_and_exit_code_2(arguments: tuple[str, ...], message: str) -> None:
    code, text = run_pytest(*arguments)
    assert code == 2 and message in text and "Traceback" not in text


@pytest.mark.heavy
def test_the_header_names_device_versions_profile_and_database() -> None:
    code, text = run_pytest(str(PROPERTIES), "--collect-only", "--hypothesis-profile=dev", MOEFUZZ_TRAGET="x")
    assert code == 0 and "MOEFUZZ_TRAGET" in text
    for part in (
        "moefuzz.kernels.grouped_gemm:grouped_gemm, moefuzz.kernels.experts:",
        "torch 2.",
        "triton 3.",
        "hypothesis 6.",
        "profile dev",
        ".hypothesis",
    ):
        assert part in text


def test_a_kernel_that_forgets_its_row_mask_is_reported_with_its_smallest_case(tmp_path: Path) -> None:
    target = "moefuzz.harness.planted.faults:forgets_the_row_mask"
    reported = (f"--moe-report-dir={tmp_path}", f"--junit-xml={tmp_path / 'junit.xml'}")
    code, text = run_pytest(str(PROPERTIES), "--moe-target", target, "-k", "lie_within", "-n", "1", "--hypothesis-profile=ci", *reported)
    assert code == 1
    for part in (
        "moefuzz: smallest case",
        "GroupedGemmCase(m_sizes=(1, 1))",
        "dW, backward pass",
        "expert 0, n 0, k 0: got",
        f"--target {target}",
    ):
        assert part in text
    assert "claims.py:" not in text, "the traceback ends where the property calls check"
    summary = text.partition("moefuzz: what was found")[2]
    assert f"WrongValue of dW, in {target}: dW is wrong (1 test)" in summary and f'moefuzz replay --target {target} "' in summary
    (line,) = (tmp_path / "failures.ndjson").read_text().splitlines()
    said = json.loads(line)
    assert said["case"] == "GroupedGemmCase(m_sizes=(1, 1))" and Path(said["report"]).exists() and "::test_" in said["test"]
    assert "moefuzz_failure" in (tmp_path / "junit.xml").read_text()


def test_an_interrupt_during_the_imports_leaves_no_traceback() -> None:
    interrupted = (
        "import signal, sys; sys.meta_path.insert(0, type('Stop', (), {'find_spec': lambda *_: signal.raise_signal(signal.SIGINT)})())"
    )
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # which a background job ignores
    code = f"{heard}; from moefuzz.harness.__main__ import main; {interrupted}; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 130 and not done.stderr


@pytest.mark.heavy
def test_replay_takes_the_target_of_the_cases_level_among_several() -> None:
    for case in ("GroupedGemmCase((1,))", "ExpertsCase(loads=(1,))"):
        command = [sys.executable, "-m", "moefuzz.harness", "replay", case]
        environment = {**os.environ, "MOEFUZZ_TARGET": "torch_loop torch_experts"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        assert done.returncode == 0 and done.stdout.startswith("right: "), done.stderr
