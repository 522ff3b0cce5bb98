"""The common base of the cases of a block and of its experts alone: T tokens, each routed to topk of E experts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from moefuzz.harness.base.case import ACTS, DTYPES, RECIPES, Case
from moefuzz.kernels.kernel_config import shown

ORDERS = ("sorted", "shuffled")
BLOCK_RECIPES = RECIPES[:-1]  # through a block, sums of one sign overflow float16


@dataclass(frozen=True, repr=False)
class RoutedCase(Case):
    """T = sum(loads) / topk tokens, of which ``loads[e]`` choose expert e, E = len(loads)."""

    relations: ClassVar[tuple[str, ...]]
    rows_of: ClassVar[str] = "loads"
    sizes: ClassVar[Mapping[str, int]] = {"moe_intermediate_size": 1, "hidden_size": 1}
    tiles: ClassVar[Mapping[str, str]] = {"hidden_size": "block_k", "moe_intermediate_size": "block_n"}

    loads: tuple[int, ...]  # tokens of each expert, each at most T
    topk: int = 1
    hidden_size: int = 16
    moe_intermediate_size: int = 8
    dtype: str = "float32"
    act: str = "silu"
    order: str = "sorted"  # which tokens an expert gets: neighbours, or shuffled ones
    data: str = "normal"
    seed: int = 0
    relation: str = ""  # the relation that a second run is checked for: see relations.py

    def __post_init__(self) -> None:
        self._typed()
        self._at_least(1, "topk", "hidden_size", "moe_intermediate_size")
        self._at_least(0, "seed")
        self._choose(dtype=DTYPES, act=ACTS, order=ORDERS, data=BLOCK_RECIPES, relation=("", *self.relations))
        if self.topk > self.E:
            raise ValueError(f"topk must be at most the number of experts {self.E}, got {self.topk}")
        if sum(self.loads) % self.topk or max(self.loads) > self.T:
            raise ValueError(f"loads must sum to T * topk with at most T each, got {shown(self.loads)} for topk = {self.topk}")

    @property
    def T(self) -> int:
        return sum(self.loads) // self.topk

    @property
    def E(self) -> int:
        return len(self.loads)

    @property
    def elements(self) -> int:
        """The number of elements of the hidden states, the output, the router and the weights of all experts."""
        return (2 * self.T + self.E + 3 * self.E * self.moe_intermediate_size) * self.hidden_size + self.T * self.E

    def limits_of(self, target: Any) -> Mapping[str, object]:
        """Return, by reason, whether the case lies outside the declaration of a target for that reason; dtypes are left out."""
        k_multiple = target.multiples(self.dtype)[1]
        odd = self.hidden_size % k_multiple or self.moe_intermediate_size % k_multiple
        return {
            f"hidden_size and moe_intermediate_size are not both multiples of {k_multiple}": odd,
            f"its activation is none of {', '.join(target.acts)}": self.act not in target.acts,
            "it has no tokens": not target.zero_rows and not self.T,
        }


def filled(loads: Sequence[int], topk: int) -> tuple[int, ...]:
    """Return the loads filled up to T * topk, with the smallest T that they allow.

    Experts are filled from the last one backward, those without tokens last, so that they stay empty if they can.

    >>> filled([0, 3, 1], 2), filled([0, 3, 0], 2)
    ((0, 3, 3), (0, 3, 3))
    """
    T = max(*loads, -(-sum(loads) // topk), 0)
    full, missing = list(loads), T * topk - sum(loads)
    for e in sorted(range(len(loads)), key=lambda e: (loads[e] == 0, -e)):
        more = min(missing, T - full[e])
        full[e], missing = full[e] + more, missing - more
    return tuple(full)
