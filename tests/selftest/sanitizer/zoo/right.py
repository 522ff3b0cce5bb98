"""Right kernels of every sort that people write, in which nothing must be found: elementwise, reductions, in-place, masks of all kinds."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from moefuzz.kernels import triton_interpreter

from .expectations import numbers

triton_interpreter.repair()


@triton.jit
def add(x_ptr, y_ptr, out_ptr, n, B: tl.constexpr = 8):
    r = tl.program_id(0) * B + tl.arange(0, B)
    x = tl.load(x_ptr + r, mask=r < n)
    y = tl.load(y_ptr + r, mask=r < n)
    tl.store(out_ptr + r, x + y, mask=r < n)


@triton.jit
def double_in_place(x_ptr, n, B: tl.constexpr = 8):
    r = tl.program_id(0) * B + tl.arange(0, B)
    tl.store(x_ptr + r, 2 * tl.load(x_ptr + r, mask=r < n), mask=r < n)


@triton.jit
def softmax(x_ptr, out_ptr, stride, n, B: tl.constexpr = 8):
    row, r = tl.program_id(0), tl.arange(0, B)
    x = tl.load(x_ptr + row * stride + r, mask=r < n, other=-float("inf"))
    e = tl.exp(x - tl.max(x, axis=0))
    tl.store(out_ptr + row * n + r, e / tl.sum(e, axis=0), mask=r < n)


@triton.jit
def dropout(x_ptr, out_ptr, n, p, seed, B: tl.constexpr = 8):
    r = tl.program_id(0) * B + tl.arange(0, B)
    x = tl.load(x_ptr + r, mask=r < n)
    tl.store(out_ptr + r, tl.where(tl.rand(seed, r) > p, x / (1 - p), 0.0), mask=r < n)


@triton.jit
def layer_norm(x_ptr, w_ptr, out_ptr, n, B: tl.constexpr = 8):
    row, r = tl.program_id(0), tl.arange(0, B)
    x = tl.load(x_ptr + row * n + r, mask=r < n, other=0.0)
    mean = tl.sum(x, 0) / n
    centred = tl.where(r < n, x - mean, 0.0)
    scale = 1 / tl.sqrt(tl.sum(centred * centred, 0) / n + 1e-5)
    tl.store(out_ptr + row * n + r, centred * scale * tl.load(w_ptr + r, mask=r < n), mask=r < n)


@triton.jit
def where_after_a_masked_load(x_ptr, out_ptr, n, B: tl.constexpr = 8):
    r = tl.arange(0, B)
    x = tl.load(x_ptr + r, mask=r < n)
    tl.store(out_ptr, tl.sum(tl.where(r < n, x, 0.0), 0))


@triton.jit
def transpose(x_ptr, out_ptr, stride_m, stride_n, M, N, B: tl.constexpr = 4):
    m = tl.program_id(0) * B + tl.arange(0, B)[:, None]
    n = tl.program_id(1) * B + tl.arange(0, B)[None, :]
    x = tl.load(x_ptr + m * stride_m + n * stride_n, mask=(m < M) & (n < N))
    tl.store(out_ptr + n * M + m, x, mask=(m < M) & (n < N))


@triton.jit
def batched_3d(x_ptr, out_ptr, D, B: tl.constexpr = 4):
    i = tl.arange(0, B)
    at = (tl.program_id(0) * D + i[:, None, None]) * D * D + i[None, :, None] * D + i[None, None, :]
    mask = (i[:, None, None] < D) & (i[None, :, None] < D) & (i[None, None, :] < D)
    tl.store(out_ptr + at, tl.load(x_ptr + at, mask=mask, other=0) + 1, mask=mask)


@triton.jit
def gather(x_ptr, index_ptr, out_ptr, n, B: tl.constexpr = 8):
    r = tl.arange(0, B)
    index = tl.load(index_ptr + r, mask=r < n, other=0)
    tl.store(out_ptr + r, tl.load(x_ptr + index), mask=r < n)


@triton.jit
def gather_where_there_is_one(x_ptr, index_ptr, out_ptr, n, B: tl.constexpr = 8):
    r = tl.arange(0, B)
    index = tl.load(index_ptr + r, mask=r < n, other=-1)
    tl.store(out_ptr + r, tl.load(x_ptr + index, mask=index >= 0, other=0.0), mask=r < n)


@triton.jit
def scatter(x_ptr, index_ptr, out_ptr, B: tl.constexpr = 4):
    row, r = tl.program_id(0), tl.arange(0, B)
    tl.store(out_ptr + tl.load(index_ptr + row) * B + r, tl.load(x_ptr + row * B + r))


@triton.jit
def running_sum(x_ptr, out_ptr, n, B: tl.constexpr = 8):
    r = tl.arange(0, B)
    tl.store(out_ptr + r, tl.cumsum(tl.load(x_ptr + r, mask=r < n, other=0.0), 0), mask=r < n)


@triton.jit
def largest_first(x_ptr, value_ptr, index_ptr, n, K: tl.constexpr = 2, B: tl.constexpr = 8):
    r = tl.arange(0, B)
    x = tl.load(x_ptr + r, mask=r < n, other=-float("inf"))
    for k in tl.static_range(K):
        tl.store(value_ptr + k, tl.max(x, 0))
        tl.store(index_ptr + k, tl.argmax(x, 0))
        x = tl.where(r == tl.argmax(x, 0), -float("inf"), x)


@triton.jit
def returns_early(x_ptr, ends_ptr, out_ptr, B: tl.constexpr = 4):
    t, r = tl.program_id(0), tl.arange(0, B)
    n = tl.load(ends_ptr + t)
    if n == 0:
        tl.store(out_ptr + t, 0.0)
        return
    tl.store(out_ptr + t, tl.sum(tl.load(x_ptr + t * B + r, mask=r < n, other=0.0), 0))


@triton.jit
def square(x):
    return x * x


@triton.jit
def squares(x_ptr, out_ptr, n, B: tl.constexpr = 8):
    r = tl.arange(0, B)
    tl.store(out_ptr + r, square(tl.load(x_ptr + r, mask=r < n, other=0.0)), mask=r < n)


@triton.jit
def as_bytes(x_ptr, out_ptr, B: tl.constexpr = 8):
    r = tl.arange(0, B)
    tl.store(out_ptr.to(tl.pointer_type(tl.int8)) + r, tl.load(x_ptr.to(tl.pointer_type(tl.int8)) + r))
    tl.store(out_ptr + 2 + tl.arange(0, 2), tl.load(out_ptr + tl.arange(0, 2)))


@triton.jit
def features(x_ptr, keep_ptr, out_ptr, B: tl.constexpr = 8):
    r = tl.arange(0, B)
    keep = tl.load(keep_ptr + r)
    tl.store(out_ptr + r, tl.load(x_ptr + r, mask=keep, other=0.0))


@triton.jit
def fill_slots(slots_ptr, n, B: tl.constexpr = 8):
    r = tl.arange(0, B)
    tl.store(slots_ptr + r, r, mask=r < n)


@triton.jit
def count_slots(slots_ptr, out_ptr, B: tl.constexpr = 8):
    tl.store(out_ptr, tl.sum((tl.load(slots_ptr + tl.arange(0, B)) >= 0).to(tl.int32), 0))


@triton.heuristics({"B": lambda arguments: triton.next_power_of_2(arguments["n"])})
@triton.jit
def negate(x_ptr, out_ptr, n, B: tl.constexpr):
    r = tl.arange(0, B)
    tl.store(out_ptr + r, -tl.load(x_ptr + r, mask=r < n), mask=r < n)


def _once(call: Any, quantiles: Any) -> list[float]:
    call()
    return [1.0 for _ in quantiles]


@triton.autotune([triton.Config({"B": 4}), triton.Config({"B": 8})], key=["n"], reset_to_zero=["out_ptr"], do_bench=_once)
@triton.jit
def tuned_sum(x_ptr, out_ptr, n, B: tl.constexpr):
    r = tl.program_id(0) * B + tl.arange(0, B)
    tl.atomic_add(out_ptr, tl.sum(tl.load(x_ptr + r, mask=r < n, other=0.0), 0))


def _fill_and_count(empty: Any) -> torch.Tensor:
    slots, count = empty(8), torch.empty(1, dtype=torch.int32)
    fill_slots[(1,)](slots, 3)
    count_slots[(1,)](slots, count)
    return count


def _minus_ones(n: int) -> torch.Tensor:
    return torch.empty(n, dtype=torch.int32).fill_(-1)


def _with_a_workspace() -> torch.Tensor:
    workspace, out = torch.empty(8), torch.empty(5)
    double_in_place[(1,)](workspace[:5].copy_(numbers(5)), 5)
    add[(1,)](workspace, workspace, out, 5)
    return out


def _two_halves() -> torch.Tensor:
    out = torch.empty(10)
    negate[(1,)](numbers(5), out[:5], 5)
    negate[(1,)](numbers(5), out[5:], 5)
    return out


def _launched(kernel: Any, *arguments: Any, grid: tuple[int, ...] = (1,)) -> Any:
    kernel[grid](*arguments)
    return arguments


LAUNCHES = {
    "add": lambda: _launched(add, numbers(13), numbers(13), torch.empty(13), 13, grid=(2,)),
    "add bfloat16": lambda: _launched(add, *2 * (numbers(13, dtype=torch.bfloat16),), torch.empty(13, dtype=torch.bfloat16), 13, grid=(2,)),
    "add nothing": lambda: _launched(add, numbers(0), numbers(0), torch.empty(0), 0),
    "add on no program": lambda: _launched(add, numbers(0), numbers(0), torch.empty(0), 0, grid=(0,)),
    "double_in_place": lambda: _launched(double_in_place, numbers(13), 13, grid=(2,)),
    "softmax of a view": lambda: _launched(softmax, numbers(3, 8)[:, :5], torch.empty(3, 5), 8, 5, grid=(3,)),
    "dropout": lambda: _launched(dropout, numbers(13), torch.empty(13), 13, 0.5, 7, grid=(2,)),
    "layer_norm": lambda: _launched(layer_norm, numbers(3, 5), numbers(5), torch.empty(3, 5), 5, grid=(3,)),
    "where_after_a_masked_load": lambda: _launched(where_after_a_masked_load, numbers(5), torch.empty(1), 5),
    "transpose": lambda: _launched(transpose, numbers(6, 5), torch.empty(5, 6), 5, 1, 6, 5, grid=(2, 2)),
    "transpose of a transpose": lambda: _launched(transpose, numbers(5, 6).T, torch.empty(5, 6), 1, 6, 6, 5, grid=(2, 2)),
    "batched_3d": lambda: _launched(batched_3d, numbers(2, 3, 3, 3), torch.empty(2, 3, 3, 3), 3, grid=(2,)),
    "gather": lambda: _launched(gather, numbers(4), torch.tensor([3, 0, 3]), torch.empty(3), 3),
    "gather_where_there_is_one": lambda: _launched(gather_where_there_is_one, numbers(4), torch.tensor([3, -1]), torch.empty(2), 2),
    "scatter": lambda: _launched(scatter, numbers(3, 4), torch.tensor([2, 0, 1]), torch.empty(3, 4), grid=(3,)),
    "running_sum": lambda: _launched(running_sum, numbers(5), torch.empty(5), 5),
    "largest_first": lambda: _launched(largest_first, numbers(5), torch.empty(2), torch.empty(2, dtype=torch.int32), 5),
    "returns_early": lambda: _launched(returns_early, numbers(3, 4), torch.tensor([2, 0, 4]), torch.empty(3), grid=(3,)),
    "squares": lambda: _launched(squares, numbers(5), torch.empty(5), 5),
    "as_bytes": lambda: _launched(as_bytes, numbers(2, dtype=torch.int32), torch.empty(4, dtype=torch.int32)),
    "truths": lambda: _launched(features, numbers(8), numbers(8) > 3, torch.empty(8)),
    "slots of -1": lambda: _fill_and_count(_minus_ones),
    "slots of 0": lambda: _fill_and_count(lambda n: torch.zeros(n, dtype=torch.int32)),
    "negate": lambda: _launched(negate, numbers(5), torch.empty(5), 5),
    "tuned_sum": lambda: _launched(tuned_sum, numbers(13), torch.zeros(1), 13, grid=(4,)),
    "a workspace that is not filled": _with_a_workspace,
    "two halves": _two_halves,
}
