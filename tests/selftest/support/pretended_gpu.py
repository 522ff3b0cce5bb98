"""Triton with a Hopper GPU that is not there: kernels are compiled for it and launched nowhere, on tensors of the CPU.

For a process of its own: ``pretend()`` comes before the first kernel is imported.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import torch
import triton
from triton.backends.compiler import GPUTarget


class Launch(NamedTuple):
    variant: str  # the compiled kernel
    grid: tuple[int, ...]
    arguments: tuple[object, ...]


launches: list[Launch] = []


def pretend() -> None:
    assert "TRITON_INTERPRET" not in os.environ  # of which Triton's own helpers take notice when they are imported
    torch.cuda.is_available = lambda: True
    triton.runtime.driver.set_active(_Driver())
    from moefuzz.kernels.grouped_gemm_details import hopper_pipeline, tma_boxes

    tma_boxes.are_there = hopper_pipeline.is_there = lambda _device: True  # type: ignore[assignment]
    hopper_pipeline.programs_at_once = lambda _device: 132  # type: ignore[assignment]


class _Utils:
    def get_device_properties(self, _device: int) -> dict[str, int]:
        return {"max_shared_mem": 232448}

    def load_binary(self, name: str, binary: bytes, *_: object) -> tuple[object, ...]:
        return "module", f"{name} {hash(binary)}", 32, 0, 1024


class _Launcher:
    def __init__(self, *_: object) -> None: ...

    def __call__(
        self, x: int, y: int, z: int, _stream: int, variant: str, _packed: object, metadata: Any, enter: Any, leave: Any, *args: Any
    ) -> None:
        if enter:
            enter(metadata)
        launches.append(Launch(variant, (x, y, z), args))
        if leave:
            leave(metadata)


class _Driver:
    utils, launcher_cls = _Utils(), _Launcher

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, _device: int) -> int:
        return 0
