"""The device on which targets run: the GPU if there is one, else the CPU under Triton's interpreter."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from moefuzz.kernels import triton_interpreter

from .versions import versions as versions  # noqa: PLC0414 - says what decides an outcome, as the device does


def device() -> torch.device:
    """Return the device of every tensor with which a target is called."""
    return torch.device("cpu" if triton_interpreter.in_force() else "cuda")


@contextmanager
def float32_reductions() -> Iterator[None]:
    """Keep torch's split-K sums in float32 within the block.

    By default cuBLAS may split a contraction and round each partial sum to the operands' dtype, also at K = 16. On an H100 the backward
    pass of Hugging Face's block showed this as an error twice the bound of a float32 accumulation. The reference's own block is checked
    against that bound, so it must not do this.
    """
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_bf16_reduced_precision_reduction, matmul.allow_fp16_reduced_precision_reduction
    matmul.allow_bf16_reduced_precision_reduction = matmul.allow_fp16_reduced_precision_reduction = False
    try:
        yield
    finally:
        matmul.allow_bf16_reduced_precision_reduction, matmul.allow_fp16_reduced_precision_reduction = before


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """Return one stream for all calls: cuBLAS keeps a workspace for each stream in use, 32 MiB on an H100, and torch has 32 streams."""
    return torch.cuda.Stream(device)


@contextmanager
def side_stream(device: torch.device) -> Iterator[None]:
    """Make another CUDA stream current within the block; it waits for the former one, which waits for it at the end."""
    stream = _side_stream(device)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)


def one_thread() -> None:
    """Make torch compute on one thread, unless OMP_NUM_THREADS is set.

    The reference's tensors are small, and processes run in parallel: fourteen with sixteen threads each took 8 s for an example of 0.1 s.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def describe() -> str:
    """Return the name of the device.

    >>> describe()
    "CPU, Triton's interpreter"
    """
    return torch.cuda.get_device_name() if device().type == "cuda" else "CPU, Triton's interpreter"
