"""Kernels that read what nobody wrote, let masked lanes without other= reach a store, leave elements out, or write them twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl

from moefuzz.kernels import triton_interpreter

from .expectations import HAS_BLOCK_POINTERS, Launch, numbers

triton_interpreter.repair()

HELD: list[object] = []  # outputs, which NotWritten is about


@triton.jit
def read_workspace(w_ptr, y_ptr, B: tl.constexpr = 8):
    r = tl.arange(0, B)
    w = tl.load(w_ptr + r)  # UninitialisedRead
    tl.store(y_ptr + r, w)


@triton.jit
def half_write(w_ptr, B: tl.constexpr = 4):
    tl.store(w_ptr + tl.arange(0, B), 1.0)


@triton.jit
def read_after_half(w_ptr, y_ptr, B: tl.constexpr = 8):
    r = tl.arange(0, B)
    w = tl.load(w_ptr + r)  # UninitialisedRead
    tl.store(y_ptr + r, w)


@triton.jit
def accumulate(x_ptr, y_ptr, B: tl.constexpr = 8):
    r = tl.arange(0, B)
    y = tl.load(y_ptr + r)  # UninitialisedRead
    tl.store(y_ptr + r, y + tl.load(x_ptr + r))


@triton.jit
def accumulate_atomically(x_ptr, y_ptr, B: tl.constexpr = 8):
    r = tl.arange(0, B)
    tl.atomic_add(y_ptr + r, tl.load(x_ptr + r))  # UninitialisedRead


@triton.jit
def lock_of_garbage(lock_ptr, y_ptr):
    tl.store(y_ptr, tl.atomic_cas(lock_ptr, 0, 1))  # UninitialisedRead


@triton.jit
def read_in_loop(w_ptr, y_ptr, n, B: tl.constexpr = 4):
    acc = tl.full((B,), 0.0, tl.float32)
    for k in range(0, n, B):
        acc += tl.load(w_ptr + k + tl.arange(0, B))  # UninitialisedRead
    tl.store(y_ptr + tl.arange(0, B), acc)


@triton.jit
def read_2d_block(w_ptr, y_ptr, B: tl.constexpr = 4):
    w = tl.load(tl.make_block_ptr(w_ptr, (B, B), (B, 1), (0, 0), (B, B), (1, 0)))  # UninitialisedRead
    tl.store(tl.make_block_ptr(y_ptr, (B, B), (B, 1), (0, 0), (B, B), (1, 0)), w)


@triton.jit
def read_descriptor(w_ptr, y_ptr, B: tl.constexpr = 4):
    w_desc = tl.make_tensor_descriptor(w_ptr, [B, B], [B, 1], [B, B])
    y_desc = tl.make_tensor_descriptor(y_ptr, [B, B], [B, 1], [B, B])
    y_desc.store([0, 0], w_desc.load([0, 0]))  # UninitialisedRead


@triton.jit
def read_through_index(w_ptr, index_ptr, y_ptr, B: tl.constexpr = 4):
    r = tl.arange(0, B)
    index = tl.load(index_ptr + r)
    w = tl.load(w_ptr + index)  # UninitialisedRead
    tl.store(y_ptr + r, w)


@triton.jit
def dead_lane_stored(x_ptr, y_ptr, n, B: tl.constexpr = 8):
    r = tl.arange(0, B)
    x = tl.load(x_ptr + r, mask=r < n)  # UninitialisedRead
    tl.store(y_ptr + r, x)


@triton.jit
def dead_lane_summed(x_ptr, y_ptr, n, B: tl.constexpr = 8):
    r = tl.arange(0, B)
    x = tl.load(x_ptr + r, mask=r < n)  # UninitialisedRead
    tl.store(y_ptr, tl.sum(x, 0))


@triton.jit
def dead_lane_in_dot(a_ptr, b_ptr, y_ptr, K, B: tl.constexpr = 16):
    r = tl.arange(0, B)
    a = tl.load(a_ptr + r[:, None] * K + r[None, :], mask=r[None, :] < K)  # UninitialisedRead
    b = tl.load(b_ptr + r[:, None] * B + r[None, :], mask=r[:, None] < K, other=0.0)
    tl.store(y_ptr + r[:, None] * B + r[None, :], tl.dot(a, b))


@triton.jit
def dead_lane_compared(x_ptr, y_ptr, n, B: tl.constexpr = 8):
    r = tl.arange(0, B)
    expert = tl.load(x_ptr + r, mask=r < n)  # UninitialisedRead
    tl.store(y_ptr, tl.sum((expert > 3).to(tl.int32), 0))


@triton.jit
def one_of_two_loads(x_ptr, z_ptr, y_ptr, n, B: tl.constexpr = 8):
    r = tl.arange(0, B)
    x = tl.load(x_ptr + r, mask=r < n)
    z = tl.load(z_ptr + r, mask=r < n)  # UninitialisedRead
    tl.store(y_ptr + r, tl.where(r < n, x, 0.0) + z)


@triton.jit
def dead_lane_of_block(x_ptr, y_ptr, n, B: tl.constexpr = 8):
    x = tl.load(tl.make_block_ptr(x_ptr, (n,), (1,), (0,), (B,), (0,)), boundary_check=(0,))  # UninitialisedRead
    tl.store(y_ptr + tl.arange(0, B), x)


@triton.jit
def dead_scalar(x_ptr, y_ptr, n):
    t = tl.program_id(0)
    x = tl.load(x_ptr + t, mask=t < n)  # UninitialisedRead
    tl.store(y_ptr + t, x)


@triton.jit
def dead_lane_of_the_last_program_masks(x_ptr, y_ptr, n, B: tl.constexpr = 4):
    t = tl.program_id(0)
    x = tl.load(x_ptr + t * B + tl.arange(0, B), mask=t * B + tl.arange(0, B) < n)  # UninitialisedRead
    tl.store(y_ptr + t, 1, mask=tl.min(x, 0) < 0)


@triton.jit
def tail_left_out(y_ptr, n, B: tl.constexpr = 8):  # NotWritten
    r = tl.arange(0, B)
    tl.store(y_ptr + r, 1.0, mask=r < n - 1)


@triton.jit
def grid_too_small(y_ptr, B: tl.constexpr = 4):  # NotWritten
    tl.store(y_ptr + tl.program_id(0) * B + tl.arange(0, B), 1.0)


@triton.jit
def last_row_left_out(y_ptr, M, N, B: tl.constexpr = 8):  # NotWritten
    m, n = tl.arange(0, B)[:, None], tl.arange(0, B)[None, :]
    tl.store(y_ptr + m * N + n, 1.0, mask=(m < M - 1) & (n < N))


@triton.jit
def empty_expert_left_out(ends_ptr, dw_ptr, K: tl.constexpr = 4):  # NotWritten
    e = tl.program_id(0)
    start, end = tl.load(ends_ptr + e), tl.load(ends_ptr + e + 1)
    if end > start:
        tl.store(dw_ptr + e * K + tl.arange(0, K), 1.0)


@triton.jit
def descriptor_grid_too_small(y_ptr, B: tl.constexpr = 4):  # NotWritten
    y_desc = tl.make_tensor_descriptor(y_ptr, [2 * B, B], [B, 1], [B, B])
    y_desc.store([tl.program_id(0) * B, 0], tl.full((B, B), 1.0, tl.float32))


@triton.jit
def slots_left_out(index_ptr, y_ptr, B: tl.constexpr = 4):  # NotWritten
    r = tl.arange(0, B)
    tl.store(y_ptr + tl.load(index_ptr + r), 1.0)


@triton.jit
def stored_twice(y_ptr, B: tl.constexpr = 8):
    tl.store(y_ptr + tl.arange(0, B), 0.0)
    tl.store(y_ptr + tl.arange(0, B), 1.0)  # WrittenTwice


@triton.jit
def stored_in_every_step(y_ptr, n, B: tl.constexpr = 4):
    for _ in range(n):
        tl.store(y_ptr + tl.arange(0, B), 0.0)  # WrittenTwice


@triton.jit
def lanes_of_one_slot(index_ptr, y_ptr, B: tl.constexpr = 4):
    r = tl.arange(0, B)
    tl.store(y_ptr + tl.load(index_ptr + r), r.to(tl.float32))  # WrittenTwice


def _empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    HELD.append(torch.empty(shape, dtype=dtype))
    out = HELD[-1]
    assert isinstance(out, torch.Tensor)
    return out


def _launch(kernel: Any, arguments: Callable[[], tuple[Any, ...]], grid: int = 1) -> Launch:
    return lambda: kernel[(grid,)](*arguments())


def _after_half() -> None:
    workspace = torch.empty(8)
    half_write[(1,)](workspace)
    read_after_half[(1,)](workspace, numbers(8))


def _partly_filled() -> None:
    workspace = torch.empty(8)
    workspace[:5].fill_(2.0)
    read_workspace[(1,)](workspace, numbers(8))


LAUNCHES: dict[str, Launch] = {
    "read_workspace": _launch(read_workspace, lambda: (torch.empty(8), numbers(8))),
    "read_workspace partly filled": _partly_filled,
    "read_workspace of integers": _launch(read_workspace, lambda: (torch.empty(8, dtype=torch.int32), numbers(8))),
    "read_after_half": _after_half,
    "accumulate": _launch(accumulate, lambda: (numbers(8), torch.empty(8))),
    "accumulate_atomically": _launch(accumulate_atomically, lambda: (numbers(8), torch.empty(8))),
    "lock_of_garbage": _launch(lock_of_garbage, lambda: (torch.empty(1, dtype=torch.int32), numbers(1, dtype=torch.int32))),
    "read_in_loop": _launch(read_in_loop, lambda: (torch.empty(8), numbers(4), 8)),
    "read_descriptor": _launch(read_descriptor, lambda: (torch.empty(4, 4), numbers(4, 4))),
    "read_through_index": _launch(read_through_index, lambda: (torch.empty(8), torch.tensor([1, 2, 7, 0]), numbers(4))),
    "dead_lane_stored": _launch(dead_lane_stored, lambda: (numbers(5), torch.empty(8), 5)),
    "dead_lane_summed": _launch(dead_lane_summed, lambda: (numbers(5), torch.empty(1), 5)),
    "dead_lane_in_dot": _launch(dead_lane_in_dot, lambda: (numbers(16, 16)[:, :5].clone(), numbers(5, 16), torch.empty(16, 16), 5)),
    "dead_lane_compared": _launch(dead_lane_compared, lambda: (numbers(5, dtype=torch.int32), torch.empty(1, dtype=torch.int32), 5)),
    "one_of_two_loads": _launch(one_of_two_loads, lambda: (numbers(5), numbers(5), torch.empty(8), 5)),
    "dead_scalar": _launch(dead_scalar, lambda: (numbers(2), torch.empty(3), 2), grid=3),
    "dead_lane_of_the_last_program_masks": _launch(
        dead_lane_of_the_last_program_masks, lambda: (numbers(6, dtype=torch.int32), torch.zeros(2, dtype=torch.int32), 6), grid=2
    ),
    "tail_left_out": _launch(tail_left_out, lambda: (_empty(5), 5)),
    "grid_too_small": _launch(grid_too_small, lambda: (_empty(10),), grid=2),
    "last_row_left_out": _launch(last_row_left_out, lambda: (_empty(3, 5), 3, 5)),
    "empty_expert_left_out": _launch(empty_expert_left_out, lambda: (torch.tensor([0, 2, 2, 3]), _empty(3, 4)), grid=3),
    "descriptor_grid_too_small": _launch(descriptor_grid_too_small, lambda: (_empty(8, 4),)),
    "slots_left_out": _launch(slots_left_out, lambda: (torch.tensor([0, 1, 3, 3]), _empty(4))),
    "stored_twice": _launch(stored_twice, lambda: (numbers(8),)),
    "stored_in_every_step": _launch(stored_in_every_step, lambda: (numbers(4), 3)),
    "lanes_of_one_slot": _launch(lanes_of_one_slot, lambda: (torch.tensor([0, 1, 3, 3]), numbers(4))),
}
if HAS_BLOCK_POINTERS:
    LAUNCHES |= {
        "read_2d_block": _launch(read_2d_block, lambda: (torch.empty(4, 4), numbers(4, 4))),
        "dead_lane_of_block": _launch(dead_lane_of_block, lambda: (numbers(5), torch.empty(8), 5)),
    }
