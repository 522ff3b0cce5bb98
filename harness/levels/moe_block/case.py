"""The case of one Qwen3 MoE block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from moefuzz.harness.base.case import ACTS, DTYPES, round_up
from moefuzz.harness.levels.routed.case import BLOCK_RECIPES, ORDERS, RoutedCase, filled
from moefuzz.kernels.kernel_config import KernelConfig

LOGIT_SIGNS = ("mixed", "negative")
BLOCK_RELATIONS = (
    "repeated", "other shapes between", "foreign weights NaN", "foreign gradients NaN", "batch reshaped", "experts frozen",
    "gradients accumulated", "other stream",
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class MoeBlockCase(RoutedCase):
    """One Qwen3 MoE block, router and experts, forward and backward.

    >>> from moefuzz.harness.base.case_text import case_from_json
    >>> case = MoeBlockCase(loads=(2, 1, 0, 1), topk=2)
    >>> case.T, case.E, eval(repr(case)) == case_from_json(case.to_json())
    (2, 4, True)
    """

    level: ClassVar[str] = "moe_block"
    relations: ClassVar[tuple[str, ...]] = BLOCK_RELATIONS
    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "relation": ("",),
        "topk": (1, 2, 3, 4),
        "order": ORDERS,
        "dtype": DTYPES,
        "data": BLOCK_RECIPES,
        "act": ACTS,
        "logits": LOGIT_SIGNS,
        "norm_topk_prob": (True,),
        "permute_x": (False,),
        "permute_y": (False,),
        "config": (KernelConfig(),),
    }
    explained: ClassVar[tuple[str, ...]] = (
        "dtype", "data", "seed", "order", "act", "logits", "norm_topk_prob", "permute_x", "permute_y", "config",
    )  # fmt: skip

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
        """Return the valid case nearest to fields that were chosen one by one.

        topk and hidden_size are moved to values that the number of experts allows, the loads are ``filled``, and an aligned config rounds
        sizes up.

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

    @property
    def guarded(self) -> str:
        """How the inputs are guarded, as words: the block holds its own weights, so only hidden states and gradient are compared."""
        return "hidden states and their gradient compared afterwards"
