"""Choose the kernel configuration of a launch: the caller's, the default for its shapes, or the fastest of the candidates.

Candidates are timed on scratch outputs, so that no timed launch writes to memory that is used afterwards.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
import triton.testing
from triton.runtime.errors import OutOfResources

from . import triton_interpreter
from .grouped_gemm_details import tma_boxes
from .grouped_gemm_details.hopper_configs import hopper_configs
from .kernel_config import DW_CONFIGS, DX_CONFIGS, FORWARD_CONFIGS, INTERPRETER_CONFIG, SAFE_CONFIG, KernelConfig

_CANDIDATES = {"forward": FORWARD_CONFIGS, "dX": DX_CONFIGS, "dW": DW_CONFIGS}
_fastest: dict[Hashable, KernelConfig] = {}


@dataclass(eq=False)
class Choice:
    """One launch that needs a configuration: the pass ("forward", "dX", "dW"), its two operands, M and E.

    ``a`` is [*, depth] (for dW: dY [*, N]); ``b`` is W [E, N, K] (for dW: X [*, K]); ``context`` is anything else that affects the speed;
    ``plain`` says that no row is gathered, scattered or weighted.
    """

    kind: str
    a: torch.Tensor
    b: torch.Tensor
    M: int
    E: int
    context: Hashable
    plain: bool = False

    def config(self, given: KernelConfig | None, launch: Callable[[KernelConfig], torch.Tensor] | None) -> KernelConfig:
        """Return the caller's own config, checked; else, with ``launch``, the fastest candidate; else the default.

        Raises ValueError if the caller's config promises an alignment that the operands do not have, or needs another device.
        """
        if given is not None:
            if given.wide and not self.is_aligned(given):
                raise ValueError(
                    f"{given} is {'aligned' if given.aligned else 'tma'}, but not so the operands of {self.kind}: shapes "
                    f"{tuple(self.a.shape)} and {tuple(self.b.shape)}, strides {self.a.stride()} and {self.b.stride()}"
                )
            if given.tma and not tma_boxes.are_there(self.a.device):
                raise ValueError(f"{given} needs the tensor memory accelerator, which {self.a.device} does not have")
            return given
        if triton_interpreter.in_force():
            return INTERPRETER_CONFIG
        candidates = self._candidates()
        default = next(filter(self.is_aligned, candidates), SAFE_CONFIG)
        if launch is None or default is SAFE_CONFIG or self.M == 0:
            return default
        key = (
            self.kind,
            self.a.dtype,
            self.a.shape,
            self.a.stride(),
            self.b.shape,
            self.b.stride(),
            self.M,
            self.E,
            self.context,
            self.a.device,
        )
        if key not in _fastest:
            fitting = filter(self.is_aligned, candidates)
            _fastest[key] = min(fitting, key=lambda config: _milliseconds(launch, config))
        return _fastest[key]

    def _candidates(self) -> tuple[KernelConfig, ...]:
        if self.a.element_size() == 2 and tma_boxes.are_there(self.a.device):
            return hopper_configs(self.kind, self.M / self.E, self.a.shape[1], plain=self.plain)
        return _CANDIDATES[self.kind]

    def is_aligned(self, config: KernelConfig) -> bool:
        """Return whether both operands are aligned as a ``wide`` config promises."""
        if config.tma and self.kind == "dW" and self.M > 1 << 30:  # ragged boxes
            return False
        if config.tma or self.kind == "dW":  # a contraction of any length
            return self._are_wide
        return self.a.shape[1] % (config.block_k if self.kind == "forward" else config.block_n) == 0 and self._are_wide

    @functools.cached_property
    def _are_wide(self) -> bool:
        widths = (self.a.shape[1], self.b.shape[1] if self.kind == "forward" else self.b.shape[-1])  # N and K
        return all(width % 8 == 0 for width in widths) and _rows_of_16_bytes(self.a) and _rows_of_16_bytes(self.b)


def _milliseconds(launch: Callable[[KernelConfig], torch.Tensor], config: KernelConfig) -> float:
    """Return the median time of a launch; infinity for tiles that do not fit into shared memory, as the widest in float32."""
    try:
        milliseconds: float = triton.testing.do_bench(lambda: launch(config), warmup=5, rep=20, return_mode="median")
    except OutOfResources:
        return math.inf
    return milliseconds


def _rows_of_16_bytes(operand: torch.Tensor) -> bool:
    if operand.numel() == 0:
        return True
    *outer, last = operand.stride()
    if last != 1 or operand.data_ptr() % 16:
        return False
    quantum = 16 // operand.element_size()
    for size, stride in zip(operand.shape, outer, strict=False):  # noqa: SIM110  # faster than a generator, in every launch
        if size > 1 and (stride <= 0 or stride % quantum):
            return False
    return True
