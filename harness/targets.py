"""Targets: the implementations that are held against the reference, and what each of them declares."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from moefuzz.kernels.kernel_config import KernelConfig

from .cases import DTYPES, Case
from .environment import TARGET_VARIABLE

OWN_TARGET = "moefuzz.kernels.grouped_gemm:grouped_gemm"
OWN_BLOCK = "moefuzz.harness.blocks:triton_block"

CONFIGS = frozenset({"kernel_config_fwd", "kernel_config_bwd_dX", "kernel_config_bwd_dW"})
_PERMUTES = frozenset({"topk", "gather_indices", "permute_x", "permute_y", "is_first_gemm"})
_FUSES = _PERMUTES | {"topk_weights", "fuse_mul_post"}


class BadTarget(Exception):
    """A target that cannot be used; the text is one line that says what to do."""


@dataclass(frozen=True)
class Target:
    """An implementation at one of two levels.

    - ``grouped_gemm``: ``f(X [M, K], W [E, N, K], m_sizes [E], **keywords) -> Y [M, N]``, differentiable in X and W.
    - ``moe_block``: ``f(block: Qwen3MoeSparseMoeBlock, **keywords) -> Module`` with the same forward pass. It gets a private copy of the
      block and must use that copy's parameters: gradients are read from it.

    Inside the declaration every case must be right. ``keywords`` are those of our own ``grouped_gemm`` that the function takes: what it
    does not take is not drawn. ``tail_rows`` says what it does with rows beyond the sum of m_sizes: "zero" or "unspecified".
    """

    name: str
    function: Callable[..., Any]
    keywords: frozenset[str] = frozenset()
    dtypes: tuple[str, ...] = DTYPES
    tail_rows: str = "unspecified"
    strides: bool = True  # takes any strided view of X, W and dY
    level: str = "grouped_gemm"
    capturable: bool = False  # reads nothing back, so that a CUDA graph can hold it
    float32_reductions: bool = False  # run with torch's split-K sums kept in float32, which on CUDA they are not by default

    @property
    def permutes(self) -> bool:
        return self.keywords >= _PERMUTES

    @property
    def configurable(self) -> bool:
        return self.keywords >= CONFIGS

    def tiles(self, case: Case) -> KernelConfig | None:
        """The tiles in which a case is computed, where it says them and the target takes them."""
        return case.config if self.configurable else None

    @property
    def fuses(self) -> bool:
        return self.keywords >= _FUSES


def target_of(function: Callable[..., Any], name: str, **declared: Any) -> Target:
    """The target that a function is: its keywords are read off its signature."""
    try:
        parameters = frozenset(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        parameters = frozenset()
    return Target(name, function, (CONFIGS | _FUSES) & parameters, **declared)


def default_target(level: str = "grouped_gemm") -> Target:
    """The target that the environment variable MOEFUZZ_TARGET names, of whatever level, else our own of this level."""
    return load_target(os.environ.get(TARGET_VARIABLE) or {"grouped_gemm": OWN_TARGET, "moe_block": OWN_BLOCK}[level])


@functools.cache
def load_target(spec: str) -> Target:
    """The target named ``pkg.mod:attr``, a Target or a function. Raises BadTarget with one line that says what to do."""
    module_name, colon, attribute = spec.partition(":")
    if not colon or not module_name or not attribute:
        raise BadTarget(f"target {spec!r} must have the form pkg.mod:attr")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise BadTarget(f"target {spec!r}: importing {module_name} failed with {type(error).__name__}: {error}") from error
    found = getattr(module, attribute, None)
    if isinstance(found, Target):
        return found
    if not callable(found):
        what = "has no attribute" if found is None else "has no callable"
        raise BadTarget(f"target {spec!r}: module {module_name} {what} {attribute!r}")
    if spec == OWN_TARGET:
        return target_of(found, spec, tail_rows="zero", capturable=True)
    if _first_parameter(found) == "block":
        return target_of(found, spec, level="moe_block", float32_reductions=spec.startswith("moefuzz.harness.blocks:"))
    return target_of(found, spec)


def _first_parameter(function: Callable[..., Any]) -> str | None:
    """The name of the first parameter: ``block`` marks a target at the moe_block level."""
    try:
        return next(iter(inspect.signature(function).parameters), None)
    except (TypeError, ValueError):
        return None
