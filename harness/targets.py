"""Targets: the implementations that are held against the reference, and what each of them declares."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from moefuzz.kernels.kernel_config import KernelConfig

from .cases import DTYPES, PERMUTES, Case, MoeBlockCase
from .environment import TARGET_VARIABLE

OWN_TARGET = "moefuzz.kernels.grouped_gemm:grouped_gemm"
OWN_BLOCK = "moefuzz.harness.blocks:triton_block"

CONFIGS = ("kernel_config_fwd", "kernel_config_bwd_dX", "kernel_config_bwd_dW")
_NEEDED = {
    "x": {"gather_indices", "permute_x"},
    "y": {"gather_indices", "permute_y"},
    "fused": {"gather_indices", "topk_weights", "fuse_mul_post"},
}
_KEYWORDS = frozenset({*CONFIGS, "topk", "is_first_gemm"}.union(*_NEEDED.values()))


class BadTarget(Exception):
    """A target that cannot be used; the text is one line that says what to do."""


class UndeclaredCase(BadTarget):
    """A case that the target does not declare that it takes."""


@dataclass(frozen=True)
class Target:
    """An implementation at one of two levels.

    - ``grouped_gemm``: ``f(X [M, K], W [E, N, K], m_sizes [E], **keywords) -> Y [M, N]``, differentiable in X and W.
    - ``moe_block``: ``f(block: Qwen3MoeSparseMoeBlock, **keywords) -> Module`` with the same forward pass. It gets a private copy of the
      block and must use that copy's parameters: gradients are read from it.

    Inside the declaration every case must be right. Keywords of our own ``grouped_gemm`` are read off the function's signature: what it
    does not take is not drawn. ``tail_rows`` says what it does with rows beyond the sum of m_sizes: "zero" or "unspecified".
    """

    name: str
    function: Callable[..., Any]
    dtypes: tuple[str, ...] = DTYPES
    tail_rows: str = "unspecified"
    strides: bool = True  # takes any strided view of X, W and dY
    level: str = "grouped_gemm"
    deterministic: bool = True  # the same call gives the same bits
    capturable: bool = False  # reads nothing back, so that a CUDA graph can hold it
    float32_reductions: bool = False  # run with torch's split-K sums kept in float32, which on CUDA they are not by default

    @functools.cached_property
    def keywords(self) -> frozenset[str]:
        """The keywords of our own op that the function takes."""
        return _KEYWORDS & frozenset(_signature(self.function).parameters)

    @property
    def permutes(self) -> tuple[str, ...]:
        """Which of cases.PERMUTES it can do."""
        return tuple(permute for permute in PERMUTES if permute == "none" or self.keywords >= _NEEDED[permute])

    @property
    def configurable(self) -> bool:
        return self.keywords >= set(CONFIGS)

    def takes(self, case: Case) -> bool:
        """Whether the declaration covers a case: outside it a failure says nothing."""
        if isinstance(case, MoeBlockCase):
            return case.dtype in self.dtypes
        plain = (case.x_layout, case.w_layout, case.dy_layout) == ("contiguous",) * 3
        return (
            case.dtype in self.dtypes
            and case.permute in self.permutes
            and (self.fuses or not case.fuse_mul_post)
            and (self.strides or plain)
            and (self.tail_rows == "zero" or not case.tail_rows)
        )

    def tiles(self, case: Case) -> KernelConfig | None:
        """The tiles in which a case is computed, where it says them and the target takes them."""
        return case.config if self.configurable else None

    @property
    def fuses(self) -> bool:
        return self.keywords >= _NEEDED["fused"]


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
        module = _imported(module_name)
    except (Exception, SystemExit) as error:
        raise BadTarget(f"target {spec!r}: importing {module_name} failed with {type(error).__name__}: {error}") from error
    found = getattr(module, attribute, None)
    if isinstance(found, Target):
        return dataclasses.replace(found, name=spec)
    if not callable(found):
        what = "has no attribute" if found is None else "has no callable"
        raise BadTarget(f"target {spec!r}: module {module_name} {what} {attribute!r}")
    if spec == OWN_TARGET:
        return Target(spec, found, tail_rows="zero", capturable=True)
    if next(iter(_signature(found).parameters), None) == "block":  # the mark of this level
        return Target(spec, found, level="moe_block", float32_reductions=spec.startswith("moefuzz.harness.blocks:"))
    _check_signature(found, spec)
    return Target(spec, found)


def _imported(name: str) -> ModuleType:
    """A module, from the working directory too: there is where its author stands."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(here)


def _check_signature(function: Callable[..., Any], spec: str) -> None:
    signature = _signature(function)
    topk = {"topk": 1} if "topk" in signature.parameters else {}
    try:
        signature.bind("X", "W", "m_sizes", **topk)
    except TypeError as error:
        raise BadTarget(f"target {spec!r} cannot be called as f(X, W, m_sizes): {error} (a block target: f(block))") from None


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """The signature of a function; that of one that takes anything where Python knows none."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return inspect.signature(lambda *_, **__: None)
