"""Kernels that load, store and add outside of their tensors: on every way to memory, in one to three dimensions."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from moefuzz.kernels import triton_interpreter

from .expectations import HAS_BLOCK_POINTERS, Launch, numbers

triton_interpreter.repair()


@triton.jit
def load_behind(x_ptr, y_ptr, n, B: tl.constexpr = 8):
    r = tl.program_id(0) * B + tl.arange(0, B)
    x = tl.load(x_ptr + r)  # OutOfBounds
    tl.store(y_ptr + r, x, mask=r < n)


@triton.jit
def store_behind(x_ptr, y_ptr, n, B: tl.constexpr = 8):
    r = tl.program_id(0) * B + tl.arange(0, B)
    x = tl.load(x_ptr + r, mask=r < n, other=0.0)
    tl.store(y_ptr + r, x, mask=r <= n)  # OutOfBounds


@triton.jit
def load_before(x_ptr, y_ptr, n, B: tl.constexpr = 8):
    r = tl.arange(0, B)
    x = tl.load(x_ptr + r - 1, mask=r < n, other=0.0)  # OutOfBounds
    tl.store(y_ptr + r, x, mask=r < n)


@triton.jit
def load_far_away(x_ptr, y_ptr):
    tl.store(y_ptr, tl.load(x_ptr + (1 << 44)))  # OutOfBounds


@triton.jit
def store_far_away(y_ptr):
    tl.store(y_ptr + (1 << 44), 1.0)  # OutOfBounds


@triton.jit
def load_stride_gap(x_ptr, y_ptr, stride, M: tl.constexpr = 4, N: tl.constexpr = 8):
    m, n = tl.arange(0, M), tl.arange(0, N)
    x = tl.load(x_ptr + m[:, None] * stride + n[None, :])  # OutOfBounds
    tl.store(y_ptr + m[:, None] * N + n[None, :], x)


@triton.jit
def store_stride_gap(y_ptr, stride, M: tl.constexpr = 4, N: tl.constexpr = 8):
    m, n = tl.arange(0, M), tl.arange(0, N)
    tl.store(y_ptr + m[:, None] * stride + n[None, :], 1.0)  # OutOfBounds


@triton.jit
def load_3d(x_ptr, y_ptr, d, B: tl.constexpr = 4):
    i = tl.arange(0, B)
    at = i[:, None, None] * d * d + i[None, :, None] * d + i[None, None, :]
    x = tl.load(x_ptr + at, mask=(i[None, :, None] < d) & (i[None, None, :] < d), other=0.0)  # OutOfBounds
    out = i[:, None, None] * B * B + i[None, :, None] * B + i[None, None, :]
    tl.store(y_ptr + out, x)


@triton.jit
def load_in_last_step(x_ptr, y_ptr, K, B: tl.constexpr = 4):
    total = 0.0
    for k in range(0, K, B):
        x = tl.load(x_ptr + k + tl.arange(0, B))  # OutOfBounds
        total += tl.sum(tl.where(k + tl.arange(0, B) < K, x, 0.0))
    tl.store(y_ptr, total)


@triton.jit
def load_through_index(x_ptr, index_ptr, y_ptr, B: tl.constexpr = 4):
    r = tl.arange(0, B)
    index = tl.load(index_ptr + r)
    x = tl.load(x_ptr + index)  # OutOfBounds
    tl.store(y_ptr + r, x)


@triton.jit
def store_through_index(x_ptr, index_ptr, y_ptr, B: tl.constexpr = 4):
    r = tl.arange(0, B)
    tl.store(y_ptr + tl.load(index_ptr + r), tl.load(x_ptr + r))  # OutOfBounds


@triton.jit
def load_next_expert(w_ptr, ends_ptr, y_ptr, E: tl.constexpr = 2, K: tl.constexpr = 4):
    row, expert = tl.program_id(0), 0
    for e in range(E):
        expert += (row >= tl.load(ends_ptr + e)).to(tl.int32)
    w = tl.load(w_ptr + expert * K + tl.arange(0, K))  # OutOfBounds
    tl.store(y_ptr + row * K + tl.arange(0, K), w)


@triton.jit
def atomic_add_behind(y_ptr, B: tl.constexpr = 8):
    tl.atomic_add(y_ptr + tl.arange(0, B), 1.0)  # OutOfBounds


@triton.jit
def atomic_max_behind(y_ptr, n, B: tl.constexpr = 8):
    r = tl.arange(0, B)
    tl.atomic_max(y_ptr + r, r, mask=r <= n)  # OutOfBounds


@triton.jit
def atomic_cas_behind(lock_ptr, E):
    tl.atomic_cas(lock_ptr + E, 0, 1)  # OutOfBounds


@triton.jit
def atomic_xchg_behind(lock_ptr, E):
    tl.atomic_xchg(lock_ptr + E, 0)  # OutOfBounds


@triton.jit
def block_pointer_load(x_ptr, y_ptr, M, B: tl.constexpr = 4):
    x_block = tl.make_block_ptr(x_ptr, (M, B), (B, 1), (0, 0), (B, B), (1, 0))
    y_block = tl.make_block_ptr(y_ptr, (M, B), (B, 1), (0, 0), (B, B), (1, 0))
    x = tl.load(x_block, boundary_check=(1,), padding_option="zero")  # OutOfBounds
    tl.store(y_block, x, boundary_check=(0, 1))


@triton.jit
def block_pointer_store(x_ptr, y_ptr, M, N, B: tl.constexpr = 4):
    x_block = tl.make_block_ptr(x_ptr, (M, N), (N, 1), (0, 0), (B, B), (1, 0))
    y_block = tl.make_block_ptr(y_ptr, (M, N), (N, 1), (0, 0), (B, B), (1, 0))
    x = tl.load(x_block, boundary_check=(0, 1), padding_option="zero")
    tl.store(y_block, x, boundary_check=(1,))  # OutOfBounds


@triton.jit
def block_pointer_advanced(x_ptr, y_ptr, K, B: tl.constexpr = 4):
    x_block = tl.make_block_ptr(x_ptr, (K,), (1,), (0,), (B,), (0,))
    acc = tl.full((B,), 0.0, tl.float32)
    for _ in range(0, K + 1, B):
        acc += tl.load(x_block)  # OutOfBounds
        x_block = tl.advance(x_block, (B,))
    tl.store(y_ptr + tl.arange(0, B), acc)


@triton.jit
def descriptor_load(x_ptr, y_ptr, M, B: tl.constexpr = 4):
    x_desc = tl.make_tensor_descriptor(x_ptr, [M + 1, B], [B, 1], [B, B])
    y_desc = tl.make_tensor_descriptor(y_ptr, [M, B], [B, 1], [B, B])
    y_desc.store([0, 0], x_desc.load([0, 0]))  # OutOfBounds


@triton.jit
def descriptor_store(y_ptr, M, B: tl.constexpr = 4):
    y_desc = tl.make_tensor_descriptor(y_ptr, [M + 1, B], [B, 1], [B, B])
    y_desc.store([0, 0], tl.full((B, B), 1.0, tl.float32))  # OutOfBounds


@triton.jit
def host_descriptor_load(x_desc, y_ptr, B: tl.constexpr = 4):
    x = x_desc.load([B, 0])  # OutOfBounds
    r = tl.arange(0, B)
    tl.store(y_ptr + r[:, None] * B + r[None, :], x)


@triton.jit
def load_other_half(x_ptr, y_ptr, B: tl.constexpr = 4):
    tl.store(y_ptr + tl.arange(0, B), tl.load(x_ptr + B + tl.arange(0, B)))  # OutOfBounds


@triton.jit
def load_of_empty(x_ptr, y_ptr):
    tl.store(y_ptr, tl.load(x_ptr))  # OutOfBounds


@triton.jit
def load_as_wider(x_ptr, y_ptr, B: tl.constexpr = 8):
    r = tl.arange(0, B)
    x = tl.load(x_ptr.to(tl.pointer_type(tl.int32)) + r)  # OutOfBounds
    tl.store(y_ptr + r, x)


@triton.jit
def helper_of_load_in_helper(x_ptr, B: tl.constexpr):
    return tl.load(x_ptr + tl.arange(0, B))  # OutOfBounds


@triton.jit
def load_in_helper(x_ptr, y_ptr, B: tl.constexpr = 8):
    tl.store(y_ptr + tl.arange(0, B), helper_of_load_in_helper(x_ptr, B))


@triton.heuristics({"B": lambda arguments: triton.next_power_of_2(arguments["n"])})
@triton.jit
def load_under_heuristics(x_ptr, y_ptr, n, B: tl.constexpr):
    r = tl.arange(0, B)
    x = tl.load(x_ptr + r)  # OutOfBounds
    tl.store(y_ptr + r, x, mask=r < n)


@triton.autotune([triton.Config({"B": 8})], key=["n"])
@triton.jit
def load_autotuned(x_ptr, y_ptr, n, B: tl.constexpr):
    r = tl.arange(0, B)
    x = tl.load(x_ptr + r)  # OutOfBounds
    tl.store(y_ptr + r, x, mask=r < n)


def _launch(kernel: Any, *arguments: Any, grid: tuple[int, ...] = (1,)) -> Launch:
    return lambda: kernel[grid](*arguments)


INDEX = torch.tensor([0, 3, 5, 1])
LAUNCHES: dict[str, Launch] = {
    "load_behind": _launch(load_behind, numbers(13), numbers(13), 13, grid=(2,)),
    "store_behind": _launch(store_behind, numbers(13), numbers(13), 13, grid=(2,)),
    "load_before": _launch(load_before, numbers(5), numbers(5), 5),
    "load_far_away": _launch(load_far_away, numbers(1), numbers(1)),
    "store_far_away": _launch(store_far_away, numbers(1)),
    "load_stride_gap": _launch(load_stride_gap, numbers(4, 10)[:, :7], numbers(4, 8), 10),
    "store_stride_gap": _launch(store_stride_gap, numbers(4, 10)[:, :7], 10),
    "load_3d": _launch(load_3d, numbers(3, 3, 3), numbers(4, 4, 4), 3),
    "load_in_last_step": _launch(load_in_last_step, numbers(10), numbers(1), 10),
    "load_through_index": _launch(load_through_index, numbers(5), INDEX, numbers(4)),
    "store_through_index": _launch(store_through_index, numbers(4), INDEX, numbers(5)),
    "load_next_expert": _launch(load_next_expert, numbers(2, 4), torch.tensor([2, 3]), numbers(4, 4), grid=(4,)),
    "atomic_add_behind": _launch(atomic_add_behind, numbers(6)),
    "atomic_max_behind": _launch(atomic_max_behind, numbers(6, dtype=torch.int32), 6),
    "atomic_cas_behind": _launch(atomic_cas_behind, numbers(3, dtype=torch.int32), 3),
    "atomic_xchg_behind": _launch(atomic_xchg_behind, numbers(3, dtype=torch.int32), 3),
    "descriptor_load": _launch(descriptor_load, numbers(3, 4), numbers(3, 4), 3),
    "descriptor_store": _launch(descriptor_store, numbers(3, 4), 3),
    "host_descriptor_load": lambda: host_descriptor_load[(1,)](TensorDescriptor(numbers(6, 4), [8, 4], [4, 1], [4, 4]), numbers(4, 4)),
    "load_other_half": _launch(load_other_half, numbers(8)[:4], numbers(4)),
    "load_of_empty": _launch(load_of_empty, numbers(0), numbers(1)),
    "load_as_wider": _launch(load_as_wider, numbers(8, dtype=torch.int16), numbers(8, dtype=torch.int32)),
    "load_in_helper": _launch(load_in_helper, numbers(6), numbers(8)),
    "load_under_heuristics": _launch(load_under_heuristics, numbers(6), numbers(6), 6),
    "load_autotuned": _launch(load_autotuned, numbers(6), numbers(6), 6),
}
if HAS_BLOCK_POINTERS:
    LAUNCHES |= {
        "block_pointer_load": _launch(block_pointer_load, numbers(3, 4), numbers(3, 4), 3),
        "block_pointer_store": _launch(block_pointer_store, numbers(3, 4), numbers(3, 4), 3, 4),
        "block_pointer_advanced": _launch(block_pointer_advanced, numbers(8), numbers(4), 8),
    }
