"""Kernels whose programs conflict: the comment stands on the access that comes second under the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl

from moefuzz.kernels import triton_interpreter

from .expectations import HAS_BLOCK_POINTERS, Launch, numbers

triton_interpreter.repair()


@triton.jit
def all_store_one(y_ptr):
    tl.store(y_ptr, tl.program_id(0).to(tl.float32))  # Race


@triton.jit
def all_store_the_same(y_ptr):
    tl.store(y_ptr, 1.0)  # Race


@triton.jit
def tiles_overlap(y_ptr, step, B: tl.constexpr = 4):
    tl.store(y_ptr + tl.program_id(0) * step + tl.arange(0, B), tl.program_id(0).to(tl.float32))  # Race


@triton.jit
def shift_in_place(y_ptr, B: tl.constexpr = 4):
    r = tl.program_id(0) * B + tl.arange(0, B)
    y = tl.load(y_ptr + r + 1)
    tl.store(y_ptr + r, y)  # Race


@triton.jit
def read_from_before(y_ptr, B: tl.constexpr = 4):
    t = tl.program_id(0)
    y = tl.load(y_ptr + (t - 1) * B + tl.arange(0, B), mask=t > 0, other=0.0)  # Race
    tl.store(y_ptr + t * B + tl.arange(0, B), y + 1.0)


@triton.jit
def split_k_without_atomics(x_ptr, y_ptr, B: tl.constexpr = 4):
    r = tl.arange(0, B)
    x = tl.load(x_ptr + tl.program_id(0) * B + r)
    y = tl.load(y_ptr + r)  # Race
    tl.store(y_ptr + r, y + x)  # Race


@triton.jit
def atomic_beside_a_store(y_ptr, B: tl.constexpr = 4):
    r = tl.arange(0, B)
    if tl.program_id(0) == 0:
        tl.store(y_ptr + r, 0.0)
    else:
        tl.atomic_add(y_ptr + r, 1.0, sem="relaxed")  # Race


@triton.jit
def sum_read_too_early(y_ptr, z_ptr, B: tl.constexpr = 4):
    r = tl.arange(0, B)
    tl.atomic_add(y_ptr + r, 1.0, sem="relaxed")  # Race
    y = tl.load(y_ptr + r)  # Race
    tl.store(z_ptr + tl.program_id(0) * B + r, y)


@triton.jit
def message_by_relaxed_atomics(y_ptr, flag_ptr, z_ptr):
    if tl.program_id(0) == 0:
        tl.store(y_ptr, 1.0)
        tl.atomic_xchg(flag_ptr, 1, sem="relaxed")
    elif tl.atomic_add(flag_ptr, 0, sem="relaxed") == 1:
        tl.store(z_ptr, tl.load(y_ptr))  # Race


@triton.jit
def message_without_acquire(y_ptr, flag_ptr, z_ptr):
    if tl.program_id(0) == 0:
        tl.store(y_ptr, 1.0)
        tl.atomic_xchg(flag_ptr, 1, sem="release")
    elif tl.atomic_add(flag_ptr, 0, sem="relaxed") == 1:
        tl.store(z_ptr, tl.load(y_ptr))  # Race


@triton.jit
def message_by_relaxed_store(y_ptr, flag_ptr, z_ptr):
    if tl.program_id(0) == 0:
        tl.store(y_ptr, 1.0)
        tl.atomic_store(flag_ptr, 1, sem="relaxed")
    elif tl.atomic_load(flag_ptr) == 1:
        tl.store(z_ptr, tl.load(y_ptr))  # Race


@triton.jit
def waits_without_acquire(y_ptr, flag_ptr, z_ptr):
    t = tl.program_id(0)
    if t > 0:
        while tl.atomic_add(flag_ptr + t - 1, 0, sem="relaxed") == 0:
            pass
        tl.store(z_ptr + t, tl.load(y_ptr + t - 1))  # Race
    tl.store(y_ptr + t, 1.0)
    tl.atomic_xchg(flag_ptr + t, 1, sem="relaxed")


@triton.jit
def counted_before_stored(x_ptr, partial_ptr, count_ptr, y_ptr, n: tl.constexpr = 3):
    t = tl.program_id(0)
    before = tl.atomic_add(count_ptr, 1)
    tl.store(partial_ptr + t, tl.load(x_ptr + t))
    if before == n - 1:
        total = 0.0
        for i in range(n):
            total += tl.load(partial_ptr + i)  # Race
        tl.store(y_ptr, total)


@triton.jit
def used_after_the_lock(y_ptr, lock_ptr):
    while tl.atomic_cas(lock_ptr, 0, 1) == 1:
        pass
    tl.atomic_xchg(lock_ptr, 0)
    y = tl.load(y_ptr)  # Race
    tl.store(y_ptr, y + 1.0)  # Race


@triton.jit
def two_locks(y_ptr, lock_ptr):
    lock = lock_ptr + tl.program_id(0) % 2
    while tl.atomic_cas(lock, 0, 1) == 1:
        pass
    y = tl.load(y_ptr)  # Race
    tl.store(y_ptr, y + 1.0)  # Race
    tl.atomic_xchg(lock, 0)


@triton.jit
def atomic_in_its_own_block(y_ptr, B: tl.constexpr = 4):
    tl.atomic_add(y_ptr + tl.arange(0, B), 1.0, scope="cta")  # Race


@triton.jit
def scatter_to_one_slot(index_ptr, y_ptr, B: tl.constexpr = 4):
    slot = tl.load(index_ptr + tl.program_id(0))
    tl.store(y_ptr + slot * B + tl.arange(0, B), tl.program_id(0).to(tl.float32))  # Race


@triton.jit
def blocks_overlap(y_ptr, M, B: tl.constexpr = 4):
    y_block = tl.make_block_ptr(y_ptr, (M, B), (B, 1), (tl.program_id(0) * 2, 0), (B, B), (1, 0))
    tl.store(y_block, tl.full((B, B), 1.0, tl.float32), boundary_check=(0, 1))  # Race


@triton.jit
def descriptors_overlap(y_ptr, M, B: tl.constexpr = 4):
    y_desc = tl.make_tensor_descriptor(y_ptr, [M, B], [B, 1], [B, B])
    y_desc.store([tl.program_id(0) * 2, 0], tl.full((B, B), 1.0, tl.float32))  # Race


@triton.jit
def third_axis_forgotten(y_ptr, n):
    at = tl.program_id(0) * n + tl.program_id(1)
    tl.store(y_ptr + at, tl.program_id(2).to(tl.float32))  # Race


@triton.jit
def conflict_in_a_loop(y_ptr, n, B: tl.constexpr = 4):
    for k in range(n):
        tl.store(y_ptr + k * B + tl.arange(0, B), tl.program_id(0).to(tl.float32))  # Race


@triton.jit
def halves_of_an_element(y_ptr):
    half = y_ptr.to(tl.pointer_type(tl.int16))
    tl.store(half + tl.program_id(0), tl.full((), 1, tl.int16))
    if tl.program_id(0) == 2:
        tl.store(y_ptr, 7)  # Race


def _zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(shape)


def _flags(n: int) -> torch.Tensor:
    return torch.zeros(n, dtype=torch.int32)


def _launch(kernel: Any, arguments: Callable[[], tuple[Any, ...]], *grid: int) -> Launch:
    return lambda: kernel[grid or (3,)](*arguments())


LAUNCHES: dict[str, Launch] = {
    "all_store_one": _launch(all_store_one, lambda: (_zeros(1),)),
    "all_store_the_same": _launch(all_store_the_same, lambda: (_zeros(1),)),
    "tiles_overlap": _launch(tiles_overlap, lambda: (_zeros(10), 3)),
    "shift_in_place": _launch(shift_in_place, lambda: (numbers(13),)),
    "read_from_before": _launch(read_from_before, lambda: (_zeros(12),)),
    "split_k_without_atomics": _launch(split_k_without_atomics, lambda: (numbers(12), _zeros(4))),
    "atomic_beside_a_store": _launch(atomic_beside_a_store, lambda: (_zeros(4),)),
    "sum_read_too_early": _launch(sum_read_too_early, lambda: (_zeros(4), _zeros(12))),
    "message_by_relaxed_atomics": _launch(message_by_relaxed_atomics, lambda: (_zeros(1), _flags(1), _zeros(1)), 2),
    "message_without_acquire": _launch(message_without_acquire, lambda: (_zeros(1), _flags(1), _zeros(1)), 2),
    "waits_without_acquire": _launch(waits_without_acquire, lambda: (_zeros(3), _flags(3), _zeros(3))),
    "counted_before_stored": _launch(counted_before_stored, lambda: (numbers(3), _zeros(3), _flags(1), _zeros(1))),
    "used_after_the_lock": _launch(used_after_the_lock, lambda: (_zeros(1), _flags(1))),
    "two_locks": _launch(two_locks, lambda: (_zeros(1), _flags(2))),
    "atomic_in_its_own_block": _launch(atomic_in_its_own_block, lambda: (_zeros(4),)),
    "scatter_to_one_slot": _launch(scatter_to_one_slot, lambda: (torch.tensor([2, 0, 2]), _zeros(3, 4))),
    "descriptors_overlap": _launch(descriptors_overlap, lambda: (_zeros(8, 4), 8)),
    "third_axis_forgotten": _launch(third_axis_forgotten, lambda: (_zeros(4), 2), 2, 2, 2),
    "conflict_in_a_loop": _launch(conflict_in_a_loop, lambda: (_zeros(8), 2)),
    "halves_of_an_element": _launch(halves_of_an_element, lambda: (_flags(2),)),
}
if hasattr(tl, "atomic_poll"):  # since Triton 3.9
    LAUNCHES["message_by_relaxed_store"] = _launch(message_by_relaxed_store, lambda: (_zeros(1), _flags(1), _zeros(1)), 2)
if HAS_BLOCK_POINTERS:
    LAUNCHES["blocks_overlap"] = _launch(blocks_overlap, lambda: (_zeros(8, 4), 8))
ONE_AFTER_THE_OTHER_LOSES_NOTHING = {
    "atomic_in_its_own_block", "split_k_without_atomics", "counted_before_stored", "used_after_the_lock", "two_locks",
}  # fmt: skip
SAME_RESULT = {"all_store_the_same", "blocks_overlap", "descriptors_overlap"} | ONE_AFTER_THE_OTHER_LOSES_NOTHING
ENDLESS_IN_REVERSE = {"waits_without_acquire"}
