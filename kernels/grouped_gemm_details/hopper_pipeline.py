"""Common parts of the warp-specialised Hopper kernels, written in Gluon: a ring of stages, and persistent programs that take tile by tile.

One warp chooses tiles, one loads their operands, and two groups of four warps multiply and store, each its own 64 rows of a tile of 128.
They meet at barriers, of which use i of an entry waits for parity i & 1:

    full[s], empty[s]    stage s of the ring holds operands; both groups that multiply are done with it
    known[s], taken[s]   slot s of the mailbox holds the next tile; the three others have read it
    wanted               the next tile is to be chosen

The registers of a tile's sums are free for the next tile once the sums are rounded to 16 bits. So a group begins to multiply the next tile,
and between its steps stores the last one in parts of 64 columns, alternately from two boxes of shared memory. Matrix instructions do not
wait for stores, and the ring uses the rest of shared memory.

The first tile of a program is that of its number, each later one comes from a counter in memory, once few steps of the present tile are
left to load. Tiles are loaded in the order in which they are chosen, and no tile waits for a busy program while others are idle.
The result does not depend on which program has which tile. Triton's interpreter does not run Gluon: on a CPU a test compiles these kernels,
and all their properties are checked on a Hopper GPU.
"""

from __future__ import annotations

import functools

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, tma
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor
from triton.tools.tensor_descriptor import TensorDescriptor as Boxes

from ..kernel_config import KernelConfig

# Triton 3.6 has the second of each pair of names, 3.9 the first.
load_box = getattr(tma, "async_load", None) or tma.async_copy_global_to_shared
store_box = getattr(tma, "async_store", None) or tma.async_copy_shared_to_global

HALF = gl.constexpr(64)
"""Rows of a group that multiplies, as many as one matrix instruction has."""
ROWS = 128
"""Rows of a tile."""
PART = gl.constexpr(64)
"""Columns that a group stores at once."""
_STORED = 2 * ROWS * PART.value
"""Elements of a result that wait in shared memory to be stored: two parts of each group."""
_SWIZZLED_BYTES = 128
_SHARED_BYTES = 226 << 10
"""Shared memory of a program, less a KiB for barriers and the mailbox."""
_SLOTS = gl.constexpr(2)
_NUMBERS = gl.constexpr(4)
AHEAD = gl.constexpr(8)
"""The next tile is requested when so many steps of the present one are left to load, or all if it has fewer."""


@functools.cache
def is_there(device: torch.device) -> bool:
    """Return whether a device has the instructions of these kernels, which only Hopper has: compute capability 9.0."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) == (9, 0)


@functools.cache
def programs_at_once(device: torch.device) -> int:
    """Return the number of multiprocessors, each of which one program fills."""
    return torch.cuda.get_device_properties(device).multi_processor_count


def stages_of(config: KernelConfig, result: torch.Tensor, rows: int, columns: int, depth: int) -> int:
    """How many stages the ring has for such tiles of a result [*, rows, columns]; 0 where they are computed without specialised warps.

    There is no ring where the config does not ask for one, on another GPU, and for other tiles than those of 128 rows, of 16 bits and
    whole swizzled columns, of which two steps fit into shared memory: a group waits for the next stage before it gives back the last.
    """
    if not (config.specialized and result.element_size() == 2 and rows == ROWS and is_there(result.device)):
        return 0
    fitting = min(config.num_stages, (_SHARED_BYTES // 2 - _STORED) // ((rows + columns) * depth))
    return fitting if fitting >= 2 and (2 * columns) % _SWIZZLED_BYTES == 0 else 0


def swizzled(box: Boxes) -> TensorDescriptor:
    """Return a descriptor of tma_boxes.py for Gluon, with boxes in the layout that matrix instructions read: columns of 128 bytes."""
    layout = gl.NVMMASharedLayout(_SWIZZLED_BYTES, 8 * box.base.element_size(), len(box.block_shape))
    return TensorDescriptor(box.base, box.shape, box.strides, box.block_shape, layout)


@gluon.jit
def barriers(COUNT: gl.constexpr, ARRIVALS: gl.constexpr):
    made = gl.allocate_shared_memory(gl.int64, [COUNT, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(COUNT):
        mbarrier.init(made.index(i), count=ARRIVALS)
    return made


@gluon.jit
def mailbox():
    """Allocate and return (numbers, known, taken, wanted)."""
    layout: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [0])
    return gl.allocate_shared_memory(gl.int32, [_SLOTS * _NUMBERS, 1], layout), barriers(_SLOTS, 1), barriers(_SLOTS, 3), barriers(1, 1)


@gluon.jit
def hand_out(box, count, a, b, c, d):
    """Give the other warps the four numbers of tile ``count`` of this program."""
    layout: gl.constexpr = gl.BlockedLayout([1], [32], [gl.num_warps()], [0])
    numbers, known, taken, _ = box
    slot = count % _SLOTS
    mbarrier.wait(taken.index(slot), count // _SLOTS & 1 ^ 1)
    numbers.index(slot * _NUMBERS).store(gl.full([1], a, gl.int32, layout))
    numbers.index(slot * _NUMBERS + 1).store(gl.full([1], b, gl.int32, layout))
    numbers.index(slot * _NUMBERS + 2).store(gl.full([1], c, gl.int32, layout))
    numbers.index(slot * _NUMBERS + 3).store(gl.full([1], d, gl.int32, layout))
    mbarrier.arrive(known.index(slot), count=1)


@gluon.jit
def take(box, count):
    """Return the four numbers of tile ``count``."""
    layout: gl.constexpr = gl.BlockedLayout([1], [32], [gl.num_warps()], [0])
    numbers, known, taken, _ = box
    slot = count % _SLOTS
    mbarrier.wait(known.index(slot), count // _SLOTS & 1)
    a = gl.max(numbers.index(slot * _NUMBERS).load(layout), 0)
    b = gl.max(numbers.index(slot * _NUMBERS + 1).load(layout), 0)
    c = gl.max(numbers.index(slot * _NUMBERS + 2).load(layout), 0)
    d = gl.max(numbers.index(slot * _NUMBERS + 3).load(layout), 0)
    mbarrier.arrive(taken.index(slot), count=1)
    return a, b, c, d


@gluon.jit
def want(box, now):
    """Request the next tile if ``now``, which holds once for each tile."""
    mbarrier.arrive(box[3].index(0), count=1, pred=now)


@gluon.jit
def later_tile(counter_ptr, box, count):
    """Wait until the next tile is requested and return it; ``count`` is how many tiles this program had before."""
    mbarrier.wait(box[3].index(0), count - 1 & 1)
    return gl.num_programs(0) + gl.atomic_add(counter_ptr, 1, sem="relaxed")


@gluon.jit
def _halves(tile, WIDTH: gl.constexpr):
    """Split [64, WIDTH] into its left and its right columns; each thread has elements of both."""
    layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, WIDTH // 2, 16])
    left, right = tile.reshape([HALF, 2, WIDTH // 2]).permute([0, 2, 1]).split()
    return gl.convert_layout(left, layout, assert_trivial=True), gl.convert_layout(right, layout, assert_trivial=True)


@gluon.jit
def parts_of(tile, WIDTH: gl.constexpr):
    """Split [64, WIDTH] into parts of 64 columns."""
    if WIDTH == PART:
        return (tile,)
    else:
        left, right = _halves(tile, WIDTH)
        return parts_of(left, WIDTH // 2) + parts_of(right, WIDTH // 2)


@gluon.jit
def steps_before(part, n_steps, PARTS: gl.constexpr):
    """Return how many steps of a tile begin before a part of the last tile is stored: one before the first, then evenly spread."""
    return gl.minimum(n_steps, 1 + part * ((n_steps + PARTS - 2) // PARTS))
