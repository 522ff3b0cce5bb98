"""The cases of an MoE block, and of its experts alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from moefuzz.harness.base.case import (
    ACTS,
    BLOCK_RECIPES,
    BLOCK_RELATIONS,
    DTYPES,
    DY_LAYOUTS,
    EXPERTS_GRADS,
    EXPERTS_RELATIONS,
    LAYOUTS,
    LOGIT_SIGNS,
    BaseCase,
    round_up,
)
from moefuzz.kernels.kernel_config import KernelConfig, shown


@dataclass(frozen=True, repr=False)
class RoutedCase(BaseCase):
    """T = sum(loads) / topk tokens, of which ``loads[e]`` choose expert e, E = len(loads)."""

    relations: ClassVar[tuple[str, ...]]
    rows_of: ClassVar[str] = "loads"

    loads: tuple[int, ...]  # tokens of each expert, each at most T
    topk: int = 1
    hidden_size: int = 16
    moe_intermediate_size: int = 8
    dtype: str = "float32"
    act: str = "silu"
    order: str = "sorted"  # which tokens an expert gets: neighbours, or shuffled ones
    data: str = "normal"
    seed: int = 0
    relation: str = ""  # a second run to be compared with the first: see relations.py

    def __post_init__(self) -> None:
        self._typed()
        self._at_least(1, "topk", "hidden_size", "moe_intermediate_size")
        self._at_least(0, "seed")
        self._choose(dtype=DTYPES, act=ACTS, order=("sorted", "shuffled"), data=BLOCK_RECIPES, relation=("", *self.relations))
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
        """Of the hidden states, the output, the router and the weights of all experts."""
        return (2 * self.T + self.E + 3 * self.E * self.moe_intermediate_size) * self.hidden_size + self.T * self.E


@dataclass(frozen=True, repr=False)
class MoeBlockCase(RoutedCase):
    """One Qwen3 MoE block, router and experts, forward and backward.

    >>> from moefuzz.harness.levels.cases import case_from_json
    >>> case = MoeBlockCase(loads=(2, 1, 0, 1), topk=2)
    >>> case.T, case.E, eval(repr(case)) == case_from_json(case.to_json())
    (2, 4, True)
    """

    level: ClassVar[str] = "moe_block"
    relations: ClassVar[tuple[str, ...]] = BLOCK_RELATIONS

    norm_topk_prob: bool = True
    logits: str = "mixed"  # signs of the router logits
    permute_x: bool = False
    permute_y: bool = False
    config: KernelConfig | None = KernelConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._choose(logits=LOGIT_SIGNS)
        if self.hidden_size < self.E:
            raise ValueError(f"hidden_size must be at least the number of experts {self.E}, got {self.hidden_size}")

    @classmethod
    def fitted(cls, *, loads: Sequence[int], **fields: Any) -> MoeBlockCase:
        """The valid case nearest to fields that were chosen one by one.

        topk and hidden_size are moved to what the number of experts allows, the loads are ``filled``, and an aligned config rounds sizes
        up.

        >>> MoeBlockCase.fitted(loads=[0, 3, 0], topk=2)
        MoeBlockCase(loads=(0, 3, 3), topk=2)
        """
        E, config = len(loads), fields.get("config", KernelConfig())
        topk = min(fields.get("topk", 1), E)
        fields |= {"topk": topk, "hidden_size": max(fields.get("hidden_size", 16), E)}
        if config is not None and config.wide:
            multiple = max(config.block_n, config.block_k) if config.aligned else 8
            fields |= {name: round_up(fields.get(name, 1), multiple) for name in ("hidden_size", "moe_intermediate_size")}
        return cls(loads=filled(loads, topk), **fields)


@dataclass(frozen=True, repr=False)
class ExpertsCase(RoutedCase):
    """The experts of an MoE block alone, forward and backward: which experts a token goes to, and their weights, are inputs.

    >>> ExpertsCase(loads=(2, 1, 0, 1), topk=2, act="relu", data="signs").T
    2
    """

    level: ClassVar[str] = "experts"
    relations: ClassVar[tuple[str, ...]] = EXPERTS_RELATIONS

    x_layout: str = "contiguous"
    w_layout: str = "contiguous"  # of both weights
    dy_layout: str = "contiguous"
    grads: str = "all"  # which inputs require grad

    def __post_init__(self) -> None:
        super().__post_init__()
        self._choose(x_layout=LAYOUTS, w_layout=LAYOUTS, dy_layout=DY_LAYOUTS, grads=EXPERTS_GRADS)

    @classmethod
    def fitted(cls, *, loads: Sequence[int], **fields: Any) -> ExpertsCase:
        """The valid case nearest to fields that were chosen one by one: topk is at most E, and the loads are ``filled``.

        >>> ExpertsCase.fitted(loads=[1, 2], topk=3)
        ExpertsCase(loads=(2, 2), topk=2)
        """
        topk = min(fields.get("topk", 1), len(loads))
        return cls(loads=filled(loads, topk), **fields | {"topk": topk})


def filled(loads: Sequence[int], topk: int) -> tuple[int, ...]:
    """The loads, filled up to T * topk, T as small as they allow: from the last expert backward, busy ones first, so that starving ones
    starve if they can.

    >>> filled([0, 3, 1], 2), filled([0, 3, 0], 2)
    ((0, 3, 3), (0, 3, 3))
    """
    T = max(*loads, -(-sum(loads) // topk), 0)
    full, missing = list(loads), T * topk - sum(loads)
    for e in sorted(range(len(loads)), key=lambda e: (loads[e] == 0, -e)):
        more = min(missing, T - full[e])
        full[e], missing = full[e] + more, missing - more
    return tuple(full)
