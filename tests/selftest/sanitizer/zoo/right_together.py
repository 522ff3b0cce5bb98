"""Right kernels whose programs work together, and products of matrices: locks, counters, flags, atomics, blocks and descriptors."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from moefuzz.kernels import triton_interpreter
from moefuzz.kernels.grouped_gemm import grouped_gemm

from .expectations import HAS_BLOCK_POINTERS, numbers

triton_interpreter.repair()


@triton.jit
def sum_by_atomics(x_ptr, out_ptr, n, B: tl.constexpr = 4):
    r = tl.program_id(0) * B + tl.arange(0, B)
    tl.atomic_add(out_ptr, tl.sum(tl.load(x_ptr + r, mask=r < n, other=0.0), 0), sem="relaxed")


@triton.jit
def columns_by_atomics(x_ptr, out_ptr, N: tl.constexpr = 4):
    n = tl.arange(0, N)
    tl.atomic_add(out_ptr + n, tl.load(x_ptr + tl.program_id(0) * N + n))


@triton.jit
def histogram(x_ptr, out_ptr, n, B: tl.constexpr = 4):
    r = tl.program_id(0) * B + tl.arange(0, B)
    tl.atomic_add(out_ptr + tl.load(x_ptr + r, mask=r < n, other=0), 1, mask=r < n)


@triton.jit
def maximum_by_atomics(x_ptr, out_ptr, B: tl.constexpr = 4):
    tl.atomic_max(out_ptr, tl.max(tl.load(x_ptr + tl.program_id(0) * B + tl.arange(0, B)), 0))


@triton.jit
def compact(x_ptr, out_ptr, count_ptr):
    x = tl.load(x_ptr + tl.program_id(0))
    if x > 2:
        tl.store(out_ptr + tl.atomic_add(count_ptr, 1), x)


@triton.jit
def last_one_sums(x_ptr, partial_ptr, count_ptr, out_ptr, n, B: tl.constexpr = 4):
    t = tl.program_id(0)
    tl.store(partial_ptr + t, tl.sum(tl.load(x_ptr + t * B + tl.arange(0, B)), 0))
    if tl.atomic_add(count_ptr, 1) == n - 1:
        tl.store(out_ptr, tl.sum(tl.load(partial_ptr + tl.arange(0, B), mask=tl.arange(0, B) < n, other=0.0), 0))


@triton.jit
def under_a_lock(x_ptr, out_ptr, lock_ptr, seen_ptr, B: tl.constexpr = 4):
    r = tl.arange(0, B)
    x = tl.load(x_ptr + tl.program_id(0) * B + r)
    while tl.atomic_cas(lock_ptr, 0, 1) == 1:
        pass
    if tl.load(seen_ptr) == 0:
        tl.atomic_xchg(seen_ptr, 1)
    else:
        x += tl.load(out_ptr + r)
    tl.store(out_ptr + r, x)
    tl.atomic_xchg(lock_ptr, 0)


@triton.jit
def one_after_the_other(x_ptr, out_ptr, flag_ptr):
    t = tl.program_id(0)
    before = 0.0
    if t > 0:
        while tl.atomic_add(flag_ptr + t - 1, 0, sem="acquire") == 0:
            pass
        before = tl.load(out_ptr + t - 1)
    tl.store(out_ptr + t, before + tl.load(x_ptr + t))
    tl.atomic_xchg(flag_ptr + t, 1, sem="release")


@triton.jit
def polled_by_cas(x_ptr, out_ptr, flag_ptr):
    t = tl.program_id(0)
    if t > 0:
        while tl.atomic_cas(flag_ptr, t, t) != t:
            pass
    tl.store(out_ptr, tl.load(x_ptr + t))
    tl.atomic_xchg(flag_ptr, t + 1)


@triton.jit
def message_by_atomic_store(x_ptr, y_ptr, flag_ptr, out_ptr):
    if tl.program_id(0) == 0:
        tl.store(y_ptr, tl.load(x_ptr))
        tl.atomic_store(flag_ptr, 1)
    elif tl.atomic_load(flag_ptr) == 1:
        tl.atomic_poll(flag_ptr, 1)
        tl.store(out_ptr, tl.load(y_ptr))


@triton.jit
def lower_flag(flag_ptr):
    tl.atomic_xchg(flag_ptr + tl.program_id(0), 0)


@triton.jit
def persistent(x_ptr, out_ptr, n_tiles, B: tl.constexpr = 4):
    for tile in range(tl.program_id(0), n_tiles, tl.num_programs(0)):
        r = tile * B + tl.arange(0, B)
        tl.store(out_ptr + r, tl.load(x_ptr + r) + 1)


@triton.jit
def matmul(a_ptr, b_ptr, c_ptr, M, N, K, B: tl.constexpr = 16):
    n_columns = tl.cdiv(N, B)
    m = tl.program_id(0) // n_columns * B + tl.arange(0, B)
    n = tl.program_id(0) % n_columns * B + tl.arange(0, B)
    k = tl.arange(0, B)
    acc = tl.zeros((B, B), tl.float32)
    for start in range(0, K, B):
        a = tl.load(a_ptr + (m % M)[:, None] * K + (start + k)[None, :], mask=(start + k)[None, :] < K, other=0.0)
        b = tl.load(b_ptr + (start + k)[:, None] * N + (n % N)[None, :], mask=(start + k)[:, None] < K, other=0.0)
        acc = tl.dot(a, b, acc)
    tl.store(c_ptr + m[:, None] * N + n[None, :], acc, mask=(m[:, None] < M) & (n[None, :] < N))


@triton.jit
def split_k(a_ptr, b_ptr, c_ptr, K, B: tl.constexpr = 16):
    r = tl.arange(0, B)
    k = tl.program_id(0) * B + r
    a = tl.load(a_ptr + r[:, None] * K + k[None, :], mask=k[None, :] < K, other=0.0)
    b = tl.load(b_ptr + k[:, None] * B + r[None, :], mask=k[:, None] < K, other=0.0)
    tl.atomic_add(c_ptr + r[:, None] * B + r[None, :], tl.dot(a, b), sem="relaxed")


@triton.jit
def matmul_of_blocks(a_ptr, b_ptr, c_ptr, M, N, K, B: tl.constexpr = 16):
    a_block = tl.make_block_ptr(a_ptr, (M, K), (K, 1), (0, 0), (B, B), (1, 0))
    b_block = tl.make_block_ptr(b_ptr, (K, N), (N, 1), (0, 0), (B, B), (1, 0))
    acc = tl.zeros((B, B), tl.float32)
    for _ in range(0, K, B):
        a = tl.load(a_block, boundary_check=(0, 1), padding_option="zero")
        b = tl.load(b_block, boundary_check=(0, 1), padding_option="zero")
        acc = tl.dot(a, b, acc)
        a_block, b_block = tl.advance(a_block, (0, B)), tl.advance(b_block, (B, 0))
    tl.store(tl.make_block_ptr(c_ptr, (M, N), (N, 1), (0, 0), (B, B), (1, 0)), acc, boundary_check=(0, 1))


@triton.jit
def block_without_padding(x_ptr, out_ptr, n, B: tl.constexpr = 8):
    x = tl.load(tl.make_block_ptr(x_ptr, (n,), (1,), (0,), (B,), (0,)), boundary_check=(0,))
    tl.store(tl.make_block_ptr(out_ptr, (n,), (1,), (0,), (B,), (0,)), x + 1, boundary_check=(0,))


@triton.jit
def copy_by_descriptors(x_ptr, out_ptr, M, N, B: tl.constexpr = 4):
    x_desc = tl.make_tensor_descriptor(x_ptr, [M, N], [N, 1], [B, B])
    out_desc = tl.make_tensor_descriptor(out_ptr, [M, N], [N, 1], [B, B])
    at = tl.program_id(0) * B
    out_desc.store([at, 0], x_desc.load([at, 0]))


@triton.jit
def copy_by_host_descriptors(x_desc, out_desc, B: tl.constexpr = 4):
    at = tl.program_id(0) * B
    out_desc.store([at, 0], x_desc.load([at, 0]))


@triton.jit
def by_pointer_table(table_ptr, out_ptr, B: tl.constexpr = 4):
    t, r = tl.program_id(0), tl.arange(0, B)
    x_ptr = tl.load(table_ptr + t).to(tl.pointer_type(tl.float32))
    tl.store(out_ptr + t * B + r, tl.load(x_ptr + r))


@triton.jit
def of_a_tuple(pair, out_ptr, B: tl.constexpr = 4):
    r = tl.arange(0, B)
    tl.store(out_ptr + r, tl.load(pair[0] + r) + tl.load(pair[1] + r))


@triton.jit
def attention(q_ptr, k_ptr, v_ptr, out_ptr, n, B: tl.constexpr = 16):
    r = tl.arange(0, B)
    q = tl.load(q_ptr + r[:, None] * B + r[None, :])
    highest = tl.full((B,), -float("inf"), tl.float32)
    total, acc = tl.zeros((B,), tl.float32), tl.zeros((B, B), tl.float32)
    for start in range(0, n, B):
        live = start + r < n
        k = tl.load(k_ptr + (start + r)[:, None] * B + r[None, :], mask=live[:, None], other=0.0)
        v = tl.load(v_ptr + (start + r)[:, None] * B + r[None, :], mask=live[:, None], other=0.0)
        scores = tl.where(live[None, :], tl.dot(q, tl.trans(k)), -float("inf"))
        new = tl.maximum(highest, tl.max(scores, 1))
        p = tl.exp(scores - new[:, None])
        acc = acc * tl.exp(highest - new)[:, None] + tl.dot(p, v)
        total = total * tl.exp(highest - new) + tl.sum(p, 1)
        highest = new
    tl.store(out_ptr + r[:, None] * B + r[None, :], acc / total[:, None])


def _launched(kernel: Any, *arguments: Any, grid: tuple[int, ...] = (1,)) -> Any:
    kernel[grid](*arguments)
    return arguments


def _flags(n: int) -> torch.Tensor:
    return torch.zeros(n, dtype=torch.int32)


def _with_flags_made_by_xchg() -> Any:
    flags = torch.empty(3, dtype=torch.int32)
    return _launched(lower_flag, flags, grid=(3,)), _launched(polled_by_cas, numbers(3), torch.empty(1), flags, grid=(3,))


def _by_pointer_table() -> Any:
    parts = [torch.empty(4).fill_(i) for i in range(2)]
    return _launched(by_pointer_table, torch.tensor([part.data_ptr() for part in parts]), torch.empty(2, 4), grid=(2,)), parts


def _grouped_gemm(dtype: torch.dtype) -> Any:
    X, W = numbers(7, 5, dtype=dtype).requires_grad_(), numbers(3, 6, 5, dtype=dtype).requires_grad_()
    Y = grouped_gemm(X, W, torch.tensor([2, 0, 3]), 1)
    Y.backward(torch.ones_like(Y))
    return Y, X.grad, W.grad


def _permuted_grouped_gemm() -> torch.Tensor:
    X, W = numbers(3, 5), numbers(2, 6, 5)
    order = torch.tensor([0, 3, 5, 1, 2, 4])
    with torch.no_grad():
        return grouped_gemm(X, W, torch.tensor([2, 4]), 2, order, permute_x=True, topk_weights=numbers(3, 2), fuse_mul_post=True)


LAUNCHES = {
    "sum_by_atomics": lambda: _launched(sum_by_atomics, numbers(10), torch.zeros(1), 10, grid=(3,)),
    "columns_by_atomics": lambda: _launched(columns_by_atomics, numbers(3, 4), torch.zeros(4), grid=(3,)),
    "histogram": lambda: _launched(histogram, torch.tensor([0, 1, 1, 3, 1]), torch.zeros(4, dtype=torch.int32), 5, grid=(2,)),
    "maximum_by_atomics": lambda: _launched(maximum_by_atomics, numbers(8, dtype=torch.int32), _flags(1), grid=(2,)),
    "compact": lambda: _launched(compact, numbers(5), torch.zeros(5), _flags(1), grid=(5,)),
    "last_one_sums": lambda: _launched(last_one_sums, numbers(12), torch.empty(3), _flags(1), torch.empty(1), 3, grid=(3,)),
    "under_a_lock": lambda: _launched(under_a_lock, numbers(12), torch.empty(4), _flags(1), _flags(1), grid=(3,)),
    "one_after_the_other": lambda: _launched(one_after_the_other, numbers(4), torch.empty(4), _flags(4), grid=(4,)),
    "polled_by_cas": lambda: _launched(polled_by_cas, numbers(3), torch.empty(1), _flags(1), grid=(3,)),
    "persistent": lambda: _launched(persistent, numbers(20), torch.empty(20), 5, grid=(2,)),
    "matmul": lambda: _launched(matmul, numbers(18, 20), numbers(20, 17), torch.empty(18, 17), 18, 17, 20, grid=(4,)),
    "split_k": lambda: _launched(split_k, numbers(16, 20), numbers(20, 16), torch.zeros(16, 16), 20, grid=(2,)),
    "copy_by_descriptors": lambda: _launched(copy_by_descriptors, numbers(6, 8), torch.empty(6, 8), 6, 8, 8, grid=(1,)),
    "copy_by_host_descriptors": lambda: _launched(
        copy_by_host_descriptors, *(TensorDescriptor(x, [6, 4], [4, 1], [4, 4]) for x in (numbers(6, 4), torch.empty(6, 4))), grid=(2,)
    ),
    "flags made by xchg": _with_flags_made_by_xchg,
    "by_pointer_table": _by_pointer_table,
    "of_a_tuple": lambda: _launched(of_a_tuple, (numbers(4), numbers(4)), torch.empty(4)),
    "attention": lambda: _launched(attention, *(numbers(20, 16) / 320 for _ in range(3)), torch.empty(16, 16), 20),
    "grouped_gemm float32": lambda: _grouped_gemm(torch.float32),
    "grouped_gemm bfloat16": lambda: _grouped_gemm(torch.bfloat16),
    "grouped_gemm permuted": _permuted_grouped_gemm,
}
if hasattr(tl, "atomic_poll"):  # since Triton 3.9
    LAUNCHES["message_by_atomic_store"] = lambda: _launched(
        message_by_atomic_store, numbers(1), torch.empty(1), _flags(1), torch.empty(1), grid=(2,)
    )
if HAS_BLOCK_POINTERS:
    LAUNCHES |= {
        "matmul_of_blocks": lambda: _launched(matmul_of_blocks, numbers(9, 20), numbers(20, 10), torch.empty(9, 10), 9, 10, 20),
        "block_without_padding": lambda: _launched(block_without_padding, numbers(5), torch.empty(5), 5),
    }
