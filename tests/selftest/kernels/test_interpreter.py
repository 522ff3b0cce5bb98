"""Each repair of Triton's interpreter, held against torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from moefuzz.harness.numerics.recipes import values
from moefuzz.kernels.triton_interpreter import in_force, repair
from moefuzz.kernels.triton_interpreter.bfloat16 import bfloat16_to_float32, float32_to_bfloat16

pytestmark = pytest.mark.skipif(not in_force(), reason="the interpreter is not in force: there is a GPU")

repair()


@triton.jit
def _dot_kernel(a_ptr, b_ptr, c_ptr, n, BLOCK: tl.constexpr):
    r = tl.arange(0, BLOCK)
    at = r[:, None] * BLOCK + r[None, :]
    acc = tl.full((BLOCK, BLOCK), 0.0, tl.float32)
    for _ in range(n):
        acc = tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at), acc)
    tl.store(c_ptr + at, acc)


@triton.jit
def _cast_kernel(x_ptr, y_ptr, BLOCK: tl.constexpr):
    r = tl.arange(0, BLOCK)
    tl.store(y_ptr + r, tl.load(x_ptr + r).to(y_ptr.dtype.element_ty))


@triton.jit
def _product_kernel(x_ptr, y_ptr, narrow, wide: tl.int64):
    x = tl.load(x_ptr)
    tl.store(y_ptr, (x * narrow).to(tl.int64))
    tl.store(y_ptr + 1, (x * wide).to(tl.int64))


@triton.jit
def _masked_load_kernel(x_ptr, undefined_ptr, zero_ptr, n, BLOCK: tl.constexpr):
    r = tl.arange(0, BLOCK)
    tl.store(undefined_ptr + r, tl.load(x_ptr + r, mask=r < n))
    tl.store(zero_ptr + r, tl.load(x_ptr + r, mask=r < n, other=0))


def _numbers(*shape: int) -> torch.Tensor:
    return torch.from_numpy(values("wide", 3, 0, shape))


@pytest.mark.parametrize("n", [1, 3])
def test_bfloat16_dot_multiplies_values_and_a_run_time_range_runs(n: int) -> None:
    a, b, c = _numbers(16, 16).bfloat16(), _numbers(16, 16).mT.contiguous().bfloat16(), torch.empty(16, 16)
    _dot_kernel[(1,)](a, b, c, n, BLOCK=16)
    torch.testing.assert_close(c, n * (a.float() @ b.float()), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("source", [torch.float32, torch.float16, torch.int32, torch.bfloat16])
@pytest.mark.parametrize("target", [torch.bfloat16, torch.float32, torch.int32])
def test_casts_agree_with_torch(source: torch.dtype, target: torch.dtype) -> None:
    x, y = _numbers(64).to(source), torch.empty(64, dtype=target)
    _cast_kernel[(1,)](x, y, BLOCK=64)
    assert torch.equal(y, x.to(target))


def test_an_annotated_integer_has_the_type_of_its_annotation() -> None:
    x, y = torch.tensor([2**20], dtype=torch.int32), torch.empty(2, dtype=torch.int64)
    _product_kernel[(1,)](x, y, 2**20, 2**20)
    assert y.tolist() == [0, 2**40]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.int32, torch.int64])
def test_a_masked_lane_without_other_is_no_number_to_count_on(dtype: torch.dtype) -> None:
    x, undefined, zero = (torch.ones(8, dtype=dtype) for _ in range(3))
    _masked_load_kernel[(1,)](x, undefined, zero, 5, BLOCK=8)
    assert undefined[:5].eq(1).all() and zero.tolist() == 5 * [1] + 3 * [0]
    assert (undefined[5:].isnan() if dtype.is_floating_point else undefined[5:] == -1).all()


def test_rounding_to_bfloat16_agrees_with_torch_on_every_kind_of_number() -> None:
    special = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, 1.00390625, 1.01171875, 3.4e38, 1e-40, 2.0**-133])
    x = torch.cat([special, _numbers(4096)])
    got = torch.from_numpy(float32_to_bfloat16(x.numpy()).view(np.int16)).view(torch.bfloat16)
    assert torch.equal(got, x.bfloat16())
    assert torch.equal(torch.from_numpy(bfloat16_to_float32(float32_to_bfloat16(x.numpy()))), x.bfloat16().float())
    assert np.isnan(bfloat16_to_float32(float32_to_bfloat16(np.array([np.nan], np.float32)))).all()


@triton.jit
def _helpers_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    r = tl.arange(0, BLOCK)
    acc = tl.zeros((BLOCK,), dtype=tl.float32)
    for i in range(tl.cdiv(n, BLOCK)):
        acc += tl.load(x_ptr + i * BLOCK + r, mask=i * BLOCK + r < n, other=0.0)
    tl.store(y_ptr, tl.sum(acc))
    tl.store(y_ptr + 1, acc.max(0))


def test_tritons_own_helpers_run_though_transformers_imported_triton_before() -> None:
    x, y = torch.arange(40.0), torch.zeros(2)
    _helpers_kernel[(1,)](x, y, 40, BLOCK=16)
    assert y.tolist() == [780.0, 7 + 23 + 39]


def test_a_launch_patches_the_language_as_the_one_before_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    from triton.runtime import interpreter

    x, y = torch.ones(4), torch.zeros(2)
    _helpers_kernel[(1,)](x, y, 4, BLOCK=4)
    searched: list[object] = []
    monkeypatch.setattr(interpreter, "_patch_builtin", lambda module, *_: searched.append(module))
    _helpers_kernel[(1,)](x, y, 4, BLOCK=4)
    assert not searched


def test_the_command_interprets_a_kernel_that_calls_tritons_helpers(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(THEIRS)
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "moefuzz.harness", "replay", "-t", "theirs:copy", "GroupedGemmCase((1,))"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603
    assert "InterpreterError" not in done.stdout and "WrongValue" in done.stdout, done.stdout + done.stderr


@triton.jit
def _bfloat16_kernel(x_ptr, y_ptr, BLOCK: tl.constexpr):
    r = tl.arange(0, BLOCK)
    x, y = tl.load(x_ptr + r), tl.load(y_ptr + r)
    tl.store(y_ptr + r, x * y)
    tl.store(y_ptr + BLOCK + r, x + y)
    tl.store(y_ptr + 2 * BLOCK + r, tl.where(x < y, -x, tl.maximum(x, y)))
    tl.store(y_ptr + 3 * BLOCK, tl.sum(x, 0))
    tl.store(y_ptr + 3 * BLOCK + 1, tl.max(x, 0))
    tl.store(y_ptr + 3 * BLOCK + 2, tl.min(x, 0))


def test_arithmetic_of_bfloat16_agrees_with_torch() -> None:
    x, y = torch.tensor([-3.5, 1, 2, 0.1], dtype=torch.bfloat16), torch.tensor([0.5, -7, 1.0625, 3], dtype=torch.bfloat16)
    out = torch.cat([y, torch.zeros(11, dtype=torch.bfloat16)])
    _bfloat16_kernel[(1,)](x, out, BLOCK=4)
    least = torch.stack([x.sum(), x.max(), x.min()])
    assert torch.equal(out, torch.cat([x * y, x + y, torch.where(x < y, -x, torch.maximum(x, y)), least]))


@triton.jit
def _larger(a, b):
    return tl.maximum(a, b)


@triton.jit
def _more_of_bfloat16_kernel(x_ptr, y_ptr, BLOCK: tl.constexpr):
    r = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + r)
    tl.store(y_ptr + r, 2 * x - 0.1)
    tl.store(y_ptr + BLOCK + r, tl.where((x > 0.25) & (x < 1.5), x, 1.25))
    tl.store(y_ptr + 2 * BLOCK + r, tl.fma(x, x, x))
    tl.store(y_ptr + 3 * BLOCK + r, tl.cumsum(x, 0))
    tl.store(y_ptr + 4 * BLOCK + r, tl.associative_scan(x, 0, _larger))
    tl.store(y_ptr + 5 * BLOCK + r, tl.sort(x))
    tl.store(y_ptr + 6 * BLOCK + r, tl.full((BLOCK,), 1.7, tl.bfloat16) + tl.reduce(x, 0, _larger))
    largest, at = tl.max(x, 0, return_indices=True)
    tl.store(y_ptr + 7 * BLOCK + r, largest + at.to(tl.bfloat16))


def test_numbers_scans_and_sorting_of_bfloat16_agree_with_torch() -> None:
    x = torch.tensor([-3.5, 1, 2.0625, 0.1, 0.3, -0.7, 1.25, 7], dtype=torch.bfloat16)
    out = torch.zeros(8, 8, dtype=torch.bfloat16)
    _more_of_bfloat16_kernel[(1,)](x, out, BLOCK=8)
    chosen = torch.where((x > 0.25) & (x < 1.5), x, torch.full_like(x, 1.25))
    fused, summed = (x.float() * x.float() + x.float()).bfloat16(), x.float().cumsum(0).bfloat16()
    ends = torch.full_like(x, 1.7) + x.max(), x.max() + torch.full_like(x, 7)
    for row, expected in enumerate((2 * x - 0.1, chosen, fused, summed, x.cummax(0).values, x.sort().values, *ends)):
        assert torch.equal(out[row], expected), row


THEIRS = """
import torch, triton, triton.language as tl

@triton.jit
def kernel(y_ptr, n, BLOCK: tl.constexpr):
    for i in range(tl.cdiv(n, BLOCK)):
        tl.store(y_ptr + i * BLOCK + tl.arange(0, BLOCK), tl.zeros((BLOCK,), tl.float32) + 77, mask=i * BLOCK + tl.arange(0, BLOCK) < n)

def copy(X, W, m_sizes):
    Y = torch.empty(X.shape[0], W.shape[1])
    kernel[(1,)](Y, Y.numel(), 16)
    return Y + 0 * (X.sum() + W.sum())
"""


@triton.jit
def _atomic_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    r = tl.arange(0, BLOCK)
    tl.atomic_add(y_ptr + r % 2, tl.load(x_ptr + r, mask=r < n, other=0.0), mask=r < n)


def test_atomic_adds_of_bfloat16_round_one_by_one() -> None:
    x, y = torch.full((9,), 1.0, dtype=torch.bfloat16), torch.tensor([256.0, 0.5, 7.0], dtype=torch.bfloat16)
    _atomic_kernel[(1,)](x, y, 9, BLOCK=16)
    assert y.tolist() == [256.0, 4.5, 7.0]  # 256 + 1 is 256 in bfloat16, five times
