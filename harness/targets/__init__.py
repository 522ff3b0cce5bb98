"""Targets: the implementations that are compared with the reference, and what each of them declares."""

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
    """A case with which the target cannot be called: it lacks a keyword for it, or declares nothing about it."""


class NeedsGpu(BadTarget):
    """A target needs a GPU and there is none, so it cannot be checked here."""


@dataclass(frozen=True)
class Elsewhere:
    """Placeholder for the function of a target in a process that only draws cases; a worker has imported the function.

    With it a Target is plain data, which can be pickled. It must not be called.
    """

    keywords: frozenset[str]  # the keywords of moefuzz's own op that the function takes

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Raise TypeError: a declaration cannot be called."""
        raise TypeError("this is a declaration: its function is in the process that runs cases")


@dataclass(frozen=True)
class Target:
    """An implementation at one of three levels.

    - ``grouped_gemm``: ``f(X [M, K], W [E, N, K], m_sizes [E], **keywords) -> Y [M, N]``, differentiable in X and W.
    - ``experts``: ``f(hidden_states [T, H], top_k_index [T, topk] int64, top_k_weights [T, topk], gate_up_proj [E, 2I, H], down_proj
      [E, H, I], act) -> [T, H]``, differentiable in the four floating tensors; gate rows [0, I), then up rows; ``act`` is a callable.
    - ``moe_block``: ``f(block: Qwen3MoeSparseMoeBlock, **keywords) -> Module`` with the same forward pass. It gets a private copy of the
      block and must use that copy's parameters: gradients are read from it.

    Inside its declaration a target must be right on every case; outside it must be right, or raise an exception. The signature of the
    function tells which keywords of moefuzz's own ``grouped_gemm`` it takes; cases that need others are not drawn. ``tail_rows`` says what
    it does with rows beyond the sum of m_sizes: "zero", "unspecified", or "refused" with an exception. ``k_multiple`` and ``row_bytes``
    limit H and I of a block or of experts as they limit K. Strides and gradients are limits of experts too, activations of experts and
    blocks.
    """

    name: str
    function: Callable[..., Any]
    dtypes: tuple[str, ...] = DTYPES
    tail_rows: str = "unspecified"
    strides: bool = True  # takes any strided view of X, W and dY
    n_multiple: int = 1  # N is a multiple of this
    k_multiple: int = 1
    m_multiple: int = 1  # each of m_sizes is a multiple of this
    row_bytes: int = 1  # rows of N and of K elements are multiples of this many bytes
    zero_rows: bool = True  # takes m_sizes of zeros alone
    backward: bool = True
    acts: tuple[str, ...] = ACTS  # of experts and blocks
    level: str = DEFAULT_LEVEL
    deterministic: bool = True  # the same call gives the same bits
    autocast: bool = True  # may be called under autocast
    tf32: bool = False  # a grouped GEMM that multiplies float32 in tf32
    partial_sums: int = 1  # of a grouped GEMM: the number of sums that are rounded to the dtype of the result before they are added
    devices: tuple[str, ...] = DEVICES  # the devices on which it runs
    capturable: bool = False  # reads nothing back to the host, so that a CUDA graph can capture it
    float32_reductions: bool = False  # run with torch's split-K sums kept in float32, which is not the default on CUDA
    module: str = ""  # a module of an optional package: imported before the first call, but not to list the target
    install: str = ""  # the command that installs that package, and its requirements

    def __post_init__(self) -> None:
        """Raise BadTarget for a declaration with wrong values, or with fields that mean nothing at its level."""
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
        """Yield a text for each declared field that means nothing at the level of the target."""
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
        """The keywords of moefuzz's own op that the function takes."""
        if isinstance(self.function, Elsewhere):
            return self.function.keywords
        return _KEYWORDS & frozenset(signature_of(self.function).parameters)

    @property
    def is_declaration(self) -> bool:
        """Whether the target is plain data, with its function in another process."""
        return isinstance(self.function, Elsewhere)

    def declaration(self) -> Target:
        """Return the target as plain data, for a process that imports no code of the target."""
        return dataclasses.replace(self, function=Elsewhere(self.keywords))

    @property
    def permutes(self) -> tuple[str, ...]:
        """The values of cases.PERMUTES that the function supports."""
        return tuple(permute for permute in PERMUTES if permute == "none" or self.keywords >= _NEEDED[permute])

    @property
    def configurable(self) -> bool:
        return self.keywords >= set(CONFIGS)

    def takes(self, case: Case) -> bool:
        """Return whether the target can be called with a case at all."""
        return case.can_be_put_to(self)

    def multiples(self, dtype: str) -> tuple[int, int]:
        """Return the numbers of which N and K must be multiples in a dtype."""
        import torch  # here, since declarations do not need it

        elements = -(-self.row_bytes // getattr(torch, dtype).itemsize)
        return math.lcm(self.n_multiple, elements), math.lcm(self.k_multiple, elements)

    def limit_on(self, case: Case) -> str | None:
        """Return, as words, why a case lies outside the declaration; None inside it."""
        if case.dtype not in self.dtypes:
            return f"its dtype is none of {', '.join(self.dtypes)}"
        return next((limit for limit, holds in case.limits_of(self).items() if holds), None)

    def limits(self) -> dict[str, Any]:
        """Return the fields that can limit a target of its level, with their values."""
        return {name: getattr(self, name) for name in contract_of(self.level).limits}

    def declared(self) -> list[str]:
        """Return, as words, what the target declares beyond its level."""
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
        """Return copies of the target: one without each of its limits, and one without any where it has several."""
        limits = {name: _NO_LIMIT[name] for name, value in self.limits().items() if value != _NO_LIMIT[name]}
        limits |= {"tail_rows": "zero"} if self.tail_rows == "refused" else {}
        each = [dataclasses.replace(self, **{name: value}) for name, value in limits.items()]
        return [*each, dataclasses.replace(self, **limits)] if len(each) > 1 else each

    def tiles(self, case: Case) -> KernelConfig | None:
        """Return the tiles in which a case is computed, where the case names them and the target takes them; else None."""
        return getattr(case, "config", None) if self.configurable else None

    @property
    def fuses(self) -> bool:
        return self.keywords >= _NEEDED["fused"]


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a function; ``(*_, **__)`` where Python finds none."""
    try:
        return inspect.signature(function)
    except Exception:  # an object may raise any exception when it is inspected
        return inspect.signature(lambda *_, **__: None)
