"""What ``launching.jit`` promises, each claim a function, on a pretended GPU:
``python -m moefuzz.tests.selftest.support.launch_claims CLAIM``.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
import torch
import triton.language as tl
from triton import knobs
from triton.runtime.jit import JITFunction

from moefuzz.harness.numerics.recipes import values

from .pretended_gpu import Launch, launches, pretend


def shown(argument: Any) -> object:
    if isinstance(argument, torch.Tensor):
        return argument.dtype, argument.shape, argument.stride()
    if hasattr(argument, "base"):
        return shown(argument.base), tuple(argument.shape), tuple(argument.strides), tuple(argument.block_shape)
    return argument


def of_a_block(dtype: torch.dtype, T: int, hidden: int) -> list[Launch]:
    """What the experts launch, forward and backward."""
    from moefuzz.kernels.experts import triton_experts

    def numbers(stream: int, *shape: int) -> torch.Tensor:
        return torch.from_numpy(values("integers", 0, stream, shape)).to(dtype).requires_grad_()

    leaves = numbers(0, T, hidden), numbers(1, T, 2), numbers(2, 4, 64, hidden), numbers(3, 4, hidden, 32)
    ids = torch.tensor([[0, 2], [3, 1]]).repeat(T // 2, 1)
    launches.clear()
    y = triton_experts(leaves[0], ids, *leaves[1:], torch.nn.functional.silu)
    torch.autograd.grad(y.sum(), leaves)
    return [Launch(launch.variant, launch.grid, tuple(map(shown, launch.arguments))) for launch in launches]


def every_launch_is_the_one_that_triton_would_make() -> None:
    """Whatever was launched before: dtypes, configs by the rows of an expert, and with rows that do not start on 16 bytes."""
    from moefuzz.kernels import launching

    cases = [(torch.bfloat16, 8, 32), (torch.float16, 8, 32), (torch.bfloat16, 128, 32), (torch.bfloat16, 8, 36), (torch.float16, 1024, 64)]
    first, again = [of_a_block(*case) for case in cases], [of_a_block(*case) for case in cases]
    launching._Kernel.__getitem__ = JITFunction.__getitem__  # type: ignore[method-assign]
    assert first == again == [of_a_block(*case) for case in cases]
    assert len(first[0]) > 10


def fewer_rows_than_a_tile_are_stored_16_bytes_at_a_time() -> None:
    from moefuzz.kernels.grouped_gemm_details.rows_hopper import _grouped_gemm_rows_hopper_kernel

    of_a_block(torch.bfloat16, 1024, 64)
    ((kernels, *_),) = _grouped_gemm_rows_hopper_kernel.device_caches.values()
    assert {width for kernel in kernels.values() for width in re.findall(r"st\.global\.(\w+)", kernel.asm["ptx"])} == {"v4"}


def hooks_see_every_launch() -> None:
    from moefuzz.kernels.grouped_gemm_details import tile_schedule

    seen: list[object] = []
    sizes = torch.tensor([1, 2], dtype=torch.int32)
    tile_schedule.tile_schedule(sizes, 3, 16)
    knobs.runtime.launch_enter_hook.add(lambda metadata: seen.append(metadata.get()["name"]))
    tile_schedule.tile_schedule(sizes, 3, 16)
    assert seen == ["_tile_schedule_kernel"]
    tile_schedule._tile_schedule_kernel.add_pre_run_hook(lambda *_, **__: seen.append("before"))
    tile_schedule.tile_schedule(sizes, 3, 16)
    assert seen[1:] == ["before", "_tile_schedule_kernel"]


def debug_compiles_anew() -> None:
    from moefuzz.kernels.grouped_gemm_details import tile_schedule

    sizes = torch.tensor([1, 2], dtype=torch.int32)
    tile_schedule.tile_schedule(sizes, 3, 16)
    knobs.runtime.debug = True
    tile_schedule.tile_schedule(sizes, 3, 16)
    ((kernels, *_),) = tile_schedule._tile_schedule_kernel.device_caches.values()
    assert len(kernels) == 2


def _copy(x_desc, y_desc):
    y_desc.store([0, 0], x_desc.load([0, 0]))


def blocks_of_descriptors_choose_a_variant() -> None:
    from moefuzz.kernels import launching
    from moefuzz.kernels.grouped_gemm_details.tma_boxes import boxes

    x, kernel = torch.zeros(64, 64), launching.jit(do_not_specialize=[])(_copy)
    for rows in (16, 32, 16):
        kernel[(1,)](boxes(x, rows, 16), boxes(x, rows, 16))
    first, second, third = (launch.variant for launch in launches)
    assert first == third != second


def _fill(x_ptr, n: tl.int32, BLOCK: tl.constexpr):
    tl.store(x_ptr + tl.arange(0, BLOCK), n)


def a_kernel_that_depends_on_values_is_refused() -> None:
    from moefuzz.kernels import launching

    for names in (["x_ptr"], ["n"]):
        with pytest.raises(TypeError, match="must stand in do_not_specialize"):
            launching.jit(do_not_specialize=names)(_fill)


if __name__ == "__main__":
    pretend()
    globals()[sys.argv[1]]()
