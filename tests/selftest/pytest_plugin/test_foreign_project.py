"""moefuzz is installed, and another project runs its tests: nothing of it changes. And where it asks for moefuzz, it gets it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from moefuzz.harness.base.device import device

from .test_plugin import run_pytest

CONFTEST = """
from hypothesis import settings
settings.register_profile("ci", max_examples=5000)
settings.register_profile("dev", max_examples=50, deadline=200)
settings.register_profile("gpu", max_examples=7)
settings.load_profile("ci")
"""
FACTS = """
import json, sys
from pathlib import Path

def test_facts():
    loaded = [name for name in ("torch", "triton", "hypothesis", "numpy", "rich") if name in sys.modules]
    from hypothesis import settings
    from hypothesis.internal.conjecture import engine
    profiles = {name: repr(profile) for name, profile in sorted(settings._profiles.items())}
    facts = [loaded, profiles, settings.get_current_profile_name(), repr(settings()), engine.MAX_SHRINKING_SECONDS]
    Path("facts.json").write_text(json.dumps(facts))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "test_facts.py").write_text(FACTS)
    return tmp_path


def facts_of(project: Path, *arguments: str) -> tuple[object, str]:
    """What a test of the project sees, and what pytest prints, but for times."""
    code, text = run_pytest(*arguments, cwd=project, CI="1", MOEFUZZ_TARGET="nonesuch", MOEFUZZ_CORPUS="nonesuch")
    assert code == 0, text
    plugins = re.sub(r"^plugins: .*\n", "", text, flags=re.MULTILINE)
    return json.loads((project / "facts.json").read_text()), re.sub(r"\d+\.\d+s", "", plugins)


@pytest.mark.parametrize("conftest", [CONFTEST, ""], ids=["with profiles of our names", "without Hypothesis"])
def test_a_foreign_project_is_as_it_is_without_the_plugin(project: Path, conftest: str) -> None:
    (project / "conftest.py").write_text(conftest)
    assert facts_of(project) == facts_of(project, "-p", "no:moefuzz")


def test_a_profile_of_the_project_is_its_own(project: Path) -> None:
    (project / "conftest.py").write_text(CONFTEST)
    facts, _ = facts_of(project, "--hypothesis-profile=gpu")
    assert isinstance(facts, list) and facts[2] == "gpu" and "max_examples=7" in facts[3] and facts[4] == 300


def test_a_profile_of_ours_is_registered_when_it_is_named(project: Path) -> None:
    facts, _ = facts_of(project, "--hypothesis-profile=dev")
    assert isinstance(facts, list) and facts[2] == "dev" and "max_examples=100" in facts[3] and "soak" not in facts[1]
    assert facts[4] > 300, "its failures are minimised to the end"
    if device().type == "cpu":
        code, text = run_pytest("--hypothesis-profile=soak", cwd=project)
        assert code == 2 and "profile 'soak' needs a CUDA GPU" in text


def test_the_plugin_costs_less_than_a_tenth_of_a_second() -> None:
    code = (
        "import pytest, time; began = time.perf_counter(); import moefuzz.harness.pytest_plugin.plugin; print(time.perf_counter() - began)"
    )
    seconds = [float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout) for _ in range(3)]  # noqa: S603
    assert min(seconds) < 0.1


KERNEL = """
import torch
import triton
import triton.language as tl


@triton.jit
def last(width):
    return tl.cdiv(width, 16)


@triton.autotune([triton.Config({"BLOCK": 16}), triton.Config({"BLOCK": 32})], key=["N"])
@triton.jit
def product(x_ptr, w_ptr, y_ptr, rows_ptr, N, K, BLOCK: tl.constexpr):
    row, n = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK).to(tl.int64)
    expert, total = tl.load(rows_ptr + row), tl.zeros((BLOCK,), tl.float32)
    for step in range(0, last(K) * 16):
        if step < K:
            x = tl.load(x_ptr + row * K + step).to(tl.float32)
            total += x * tl.load(w_ptr + (expert * N + n) * K + step, mask=n < N, other=0).to(tl.float32)
    tl.store(y_ptr + row * N + n, total, mask=n < N)


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, X, W, rows):
        X, W = X.contiguous(), W.contiguous()
        ctx.save_for_backward(X, W, rows)
        Y = X.new_empty(len(X), W.shape[1])
        if Y.numel():
            product[lambda meta: (len(X), triton.cdiv(W.shape[1], meta["BLOCK"]))](X, W, Y, rows, W.shape[1], W.shape[2])
        return Y

    @staticmethod
    def backward(ctx, dY):
        X, W, rows = ctx.saved_tensors
        dX, dW = torch.zeros_like(X), torch.zeros_like(W)
        for e in range(len(W)):
            mine = rows == e
            dX[mine] = (dY[mine].float() @ W[e].float()).to(X.dtype)
            dW[e] = (dY[mine].float().T @ X[mine].float()).to(W.dtype)
        return dX, dW, None


def gemm(X, W, m_sizes):
    rows = torch.repeat_interleave(torch.arange(len(m_sizes), device=X.device), m_sizes.long())
    return Product.apply(X, W, rows)
"""
OWN_TEST = """
from acme_kernels import gemm  # before moefuzz, as isort orders it
from hypothesis import given, settings
from moefuzz import Target, check
from moefuzz.strategies import grouped_gemm_cases

MINE = Target("mine", gemm, dtypes=("float32", "bfloat16"))

@settings(deadline=None, max_examples=10)
@given(grouped_gemm_cases(MINE))
def test_my_kernel(case):
    check(case, MINE)
"""


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    (tmp_path / "acme_kernels.py").write_text(KERNEL)
    return tmp_path


def test_a_right_kernel_that_is_imported_first_passes(kernels: Path) -> None:
    (kernels / "test_mine.py").write_text(OWN_TEST)
    code, text = run_pytest("-q", "--import-mode=prepend", cwd=kernels, CI="1")
    assert code == 0, text


def test_our_properties_of_a_plain_triton_kernel_pass(kernels: Path) -> None:
    target = "--moe-target=acme_kernels:gemm"
    code, text = run_pytest("--pyargs", "moefuzz.tests.properties", target, "-k", "any_subset", "--no-moe-sanitize", cwd=kernels, CI="1")
    assert code == 0 and "moefuzz: acme_kernels:gemm on " in text and "moefuzz: profile ci, 20 examples" in text and "1 passed" in text, (
        text
    )


@pytest.mark.skipif(device().type == "cuda", reason="there is a GPU")
def test_a_target_that_asks_for_a_gpu_is_one_line(kernels: Path) -> None:
    (kernels / "wants_a_gpu.py").write_text("def f(X, W, m_sizes):\n    return X.cuda() @ W[0].T\n")
    command = [sys.executable, "-m", "moefuzz", "replay", "--no-isolate", "-t", "wants_a_gpu:f", "GroupedGemmCase((1,))"]
    done = subprocess.run(command, cwd=kernels, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 2 and done.stderr.startswith("moefuzz: target 'wants_a_gpu:f' needs a CUDA GPU, and there is none: raised ")
    assert done.stderr.count("\n") == 1 and "wants_a_gpu.py:2" in done.stderr


DYING = """
import os
from hypothesis import given, settings
from moefuzz import GroupedGemmCase, Target, check

def test_it():
    check(GroupedGemmCase((2, 1)), Target("mine:dies", lambda X, W, m_sizes: os._exit(0)))
"""


def test_a_process_of_pytest_that_dies_says_what_ran(tmp_path: Path) -> None:
    (tmp_path / "test_dying.py").write_text(DYING)
    _, text = run_pytest("-q", cwd=tmp_path)
    assert "moefuzz: this process of pytest ended while mine:dies ran\n    case      GroupedGemmCase(m_sizes=(2, 1))" in text
    assert "pytest --moe-isolate" in text
    (tmp_path / "test_dying.py").write_text(DYING.replace("os._exit(0)", "X @ W[0].T + 0 * W.sum()").replace("(2, 1)", "(1,)"))
    code, text = run_pytest("-q", cwd=tmp_path)
    left = [*(tmp_path / ".hypothesis" / "moefuzz" / "running").iterdir()]
    assert code == 0 and "moefuzz" not in text and len(left) == 1, "that of the process that died"
