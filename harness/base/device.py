"""Where targets run: on the GPU if there is one, else on the CPU under Triton's interpreter."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from moefuzz.kernels import triton_interpreter

from .versions import versions as versions  # noqa: PLC0414 - says what decides an outcome, as the device does


def device() -> torch.device:
    """The device of every tensor that a target gets."""
    return torch.device("cpu" if triton_interpreter.in_force() else "cuda")


@contextmanager
def float32_reductions() -> Iterator[None]:
    """Keep torch's split-K sums in float32 for a while.

    By default cuBLAS may split a contraction and round each partial sum to the operands' dtype, also at K = 16: this was seen on an H100 in
    the backward pass of Hugging Face's block, as an error twice the bound of a float32 accumulation. The reference's own block is held to
    that bound, so it must not do this.
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
    """One for all calls: cuBLAS keeps a workspace for each stream that it has seen, 32 MiB on an H100, and torch has 32 streams."""
    return torch.cuda.Stream(device)


@contextmanager
def side_stream(device: torch.device) -> Iterator[None]:
    """Another CUDA stream is current; it waits for the one before, and that waits for it."""
    stream = _side_stream(device)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)


def one_thread() -> None:
    """Have torch compute on one thread, unless OMP_NUM_THREADS says otherwise.

    The reference's tensors are small, and processes run side by side: fourteen with sixteen threads each took 8 s for an example of 0.1 s.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def describe() -> str:
    """The device in words.

    >>> describe()
    "CPU, Triton's interpreter"
    """
    return torch.cuda.get_device_name() if device().type == "cuda" else "CPU, Triton's interpreter"
