"""Targets: the implementations that are held against the reference, and what each of them declares."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from moefuzz.harness.base.case import ACTS, DTYPES, PERMUTES, Case
from moefuzz.harness.base.contract import DEFAULT_LEVEL, contract_of, contracts, level_names
from moefuzz.kernels.kernel_config import KernelConfig

CONFIGS = ("kernel_config_fwd", "kernel_config_bwd_dX", "kernel_config_bwd_dW")
_NEEDED = {
    "x": {"gather_indices", "permute_x"},
    "y": {"gather_indices", "permute_y"},
    "fused": {"gather_indices", "topk_weights", "fuse_mul_post"},
}
_KEYWORDS = frozenset({*CONFIGS, "topk", "is_first_gemm"}.union(*_NEEDED.values()))

DEVICES = ("cpu", "cuda")
_NO_LIMIT: dict[str, Any] = {
    "dtypes": DTYPES, "zero_rows": True, "k_multiple": 1, "row_bytes": 1, "strides": True, "backward": True,
    "n_multiple": 1, "m_multiple": 1, "acts": ACTS, "tf32": False, "partial_sums": 1,
}  # fmt: skip


class BadTarget(Exception):
    """A target that cannot be used; the text is one line that says what to do."""


class UndeclaredCase(BadTarget):
    """A case that cannot be put to the target: it has no keyword for it, or says nothing about it."""


class NeedsGpu(BadTarget):
    """A target that asked for a GPU where there is none: nothing can be said of it here."""


@dataclass(frozen=True)
class Elsewhere:
    """Stands for the function of a target in a process that only draws cases for it: another one has imported it.

    With it a Target is plain data. It can be pickled, and must not be called.
    """

    keywords: frozenset[str]  # of our own op, those that the function takes

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Raise TypeError."""
        raise TypeError("this is a declaration: its function is in the process that runs cases")


@dataclass(frozen=True)
class Target:
    """An implementation at one of three levels.

    - ``grouped_gemm``: ``f(X [M, K], W [E, N, K], m_sizes [E], **keywords) -> Y [M, N]``, differentiable in X and W.
    - ``experts``: ``f(hidden_states [T, H], top_k_index [T, topk] int64, top_k_weights [T, topk], gate_up_proj [E, 2I, H], down_proj
      [E, H, I], act) -> [T, H]``, differentiable in the four floating tensors; gate rows [0, I), then up rows; ``act`` is a callable.
    - ``moe_block``: ``f(block: Qwen3MoeSparseMoeBlock, **keywords) -> Module`` with the same forward pass. It gets a private copy of the
      block and must use that copy's parameters: gradients are read from it.

    Inside the declaration every case must be right, outside it right or refused with an exception. Keywords of our own ``grouped_gemm``
    are read off the function's signature: what it does not take is not drawn. ``tail_rows`` says what it does with rows beyond the sum of
    m_sizes: "zero", "unspecified", or "refused" with an exception. H and I of a block or of experts are multiples of what K is one of
    here; strides and gradients are limits of experts too, activations of experts and blocks.
    """

    name: str
    function: Callable[..., Any]
    dtypes: tuple[str, ...] = DTYPES
    tail_rows: str = "unspecified"
    strides: bool = True  # takes any strided view of X, W and dY
    n_multiple: int = 1  # N is a multiple of this
    k_multiple: int = 1
    m_multiple: int = 1  # so is each of m_sizes
    row_bytes: int = 1  # N and K make rows of a multiple of so many bytes
    zero_rows: bool = True  # takes m_sizes of zeros alone
    backward: bool = True
    acts: tuple[str, ...] = ACTS  # of experts and blocks
    level: str = DEFAULT_LEVEL
    deterministic: bool = True  # the same call gives the same bits
    autocast: bool = True  # may be called under autocast
    tf32: bool = False  # a grouped GEMM that multiplies float32 in tf32
    partial_sums: int = 1  # of a grouped GEMM: so many sums that are rounded to the dtype of the result before they are added
    devices: tuple[str, ...] = DEVICES  # on which it runs
    capturable: bool = False  # reads nothing back, so that a CUDA graph can hold it
    float32_reductions: bool = False  # run with torch's split-K sums kept in float32, which on CUDA they are not by default
    module: str = ""  # of a package that need not be installed: imported before the first call, and not to list the target
    install: str = ""  # the command that installs that package, and what it needs

    def __post_init__(self) -> None:
        """Raise BadTarget for a declaration that says nothing."""
        for wrong in itertools.chain(self._wrong_choices(), self._wrong_numbers(), self._beside_the_level()):
            raise BadTarget(f"target {self.name!r}: {wrong}")

    def _wrong_choices(self) -> Iterator[str]:
        for name, values in {"tail_rows": ("zero", "unspecified", "refused"), "level": level_names()}.items():
            if getattr(self, name) not in values:
                yield f"{name} must be one of {values}, got {getattr(self, name)!r}"
        for name, values in {"dtypes": DTYPES, "acts": ACTS, "devices": DEVICES}.items():
            if not getattr(self, name) or not set(getattr(self, name)) <= set(values):
                yield f"{name} must be some of {values}, got {getattr(self, name)!r}"
        if not callable(self.function):
            yield f"function must be callable, got {self.function!r}"

    def _wrong_numbers(self) -> Iterator[str]:
        for name in ("n_multiple", "k_multiple", "m_multiple", "row_bytes", "partial_sums"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                yield f"{name} must be a whole number from 1 on, got {getattr(self, name)!r}"

    def _beside_the_level(self) -> Iterator[str]:
        """Yield what is declared and says nothing at the target's level."""
        contract = contract_of(self.level)
        for name, none in _NO_LIMIT.items():
            if getattr(self, name) != none and name not in (*contract.limits, *contract.declares):
                elsewhere = [other.level for other in contracts() if name in other.declares]
                yield (
                    f"{name} is declared at level {' or '.join(elsewhere)} alone"
                    if elsewhere
                    else f"{name} is no limit at level {self.level}, whose limits are {contract.limits}"
                )

    @functools.cached_property
    def keywords(self) -> frozenset[str]:
        """The keywords of our own op that the function takes."""
        if isinstance(self.function, Elsewhere):
            return self.function.keywords
        return _KEYWORDS & frozenset(signature_of(self.function).parameters)

    @property
    def is_declaration(self) -> bool:
        """Whether it is plain data, and its function in another process."""
        return isinstance(self.function, Elsewhere)

    def declaration(self) -> Target:
        """Return the same as plain data, for a process that imports no code of the target."""
        return dataclasses.replace(self, function=Elsewhere(self.keywords))

    @property
    def permutes(self) -> tuple[str, ...]:
        """Which of cases.PERMUTES it can do."""
        return tuple(permute for permute in PERMUTES if permute == "none" or self.keywords >= _NEEDED[permute])

    @property
    def configurable(self) -> bool:
        return self.keywords >= set(CONFIGS)

    def takes(self, case: Case) -> bool:
        """Whether a case can be put to it at all."""
        return case.can_be_put_to(self)

    def multiples(self, dtype: str) -> tuple[int, int]:
        """What N and K are multiples of."""
        import torch  # which declarations do not wait for

        elements = -(-self.row_bytes // getattr(torch, dtype).itemsize)
        return math.lcm(self.n_multiple, elements), math.lcm(self.k_multiple, elements)

    def limit_on(self, case: Case) -> str | None:
        """In words, why a case lies outside the declaration; None inside it."""
        if case.dtype not in self.dtypes:
            return f"its dtype is none of {', '.join(self.dtypes)}"
        return next((limit for limit, holds in case.limits_of(self).items() if holds), None)

    def limits(self) -> dict[str, Any]:
        """What its level lets it limit, and to what."""
        return {name: getattr(self, name) for name in contract_of(self.level).limits}

    def declared(self) -> list[str]:
        """What it declares beyond its level, in words."""
        said = {
            " or ".join(self.dtypes): self.dtypes != DTYPES,
            f"N % {self.n_multiple} == 0": self.n_multiple > 1,
            f"K % {self.k_multiple} == 0": self.k_multiple > 1,
            f"m_sizes % {self.m_multiple} == 0": self.m_multiple > 1,
            f"rows of {self.row_bytes} bytes": self.row_bytes > 1,
            f"{' and '.join(self.acts)} alone": self.acts != ACTS,
            "contiguous": not self.strides,
            "some rows": not self.zero_rows,
            "forward only": not self.backward,
            "permutes": len(self.permutes) > 1,
            "fused weights": self.fuses,
            "configs": self.configurable,
            "zeros in the tail": self.tail_rows == "zero",
            "no tail": self.tail_rows == "refused",
            "tf32": self.tf32,
            f"{self.partial_sums} partial sums": self.partial_sums > 1,
            f"{self.devices[0]} alone": len(self.devices) == 1,
            "graphs": self.capturable,
            "nondeterministic": not self.deterministic,
            "no autocast": not self.autocast,
        }
        return [words for words, holds in said.items() if holds]

    def wider(self) -> list[Target]:
        """The target as if it declared one limit less, for each that it has, and as if it had none of several."""
        limits = {name: _NO_LIMIT[name] for name, value in self.limits().items() if value != _NO_LIMIT[name]}
        limits |= {"tail_rows": "zero"} if self.tail_rows == "refused" else {}
        each = [dataclasses.replace(self, **{name: value}) for name, value in limits.items()]
        return [*each, dataclasses.replace(self, **limits)] if len(each) > 1 else each

    def tiles(self, case: Case) -> KernelConfig | None:
        """The tiles in which a case is computed, where it says them and the target takes them."""
        return getattr(case, "config", None) if self.configurable else None

    @property
    def fuses(self) -> bool:
        return self.keywords >= _NEEDED["fused"]


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """The signature of a function; that of one that takes anything where Python knows none."""
    try:
        return inspect.signature(function)
    except Exception:  # the object of a target may raise whatever is asked of it
        return inspect.signature(lambda *_, **__: None)
