"""The case of the experts of a block, with a given routing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from moefuzz.harness.base.case import ACTS, DTYPES, DY_LAYOUTS, LAYOUTS
from moefuzz.harness.levels.routed.case import BLOCK_RECIPES, ORDERS, RoutedCase, filled

EXPERTS_GRADS = ("all", "frozen experts", "experts alone", "none")
EXPERTS_RELATIONS = (
    "repeated", "other shapes between", "tokens permuted", "foreign weights NaN", "foreign tokens NaN", "foreign gradients NaN",
    "fewer gradients", "gradients accumulated", "other stream",
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class ExpertsCase(RoutedCase):
    """The experts of an MoE block alone, forward and backward: the routing, ids and weights, is an input.

    >>> ExpertsCase(loads=(2, 1, 0, 1), topk=2, act="relu", data="signs").T
    2
    """

    level: ClassVar[str] = "experts"
    relations: ClassVar[tuple[str, ...]] = EXPERTS_RELATIONS
    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "relation": ("",),
        "topk": (1, 2, 3, 4),
        "order": ORDERS,
        "x_layout": LAYOUTS,
        "w_layout": LAYOUTS,
        "dy_layout": DY_LAYOUTS,
        "dtype": DTYPES,
        "data": BLOCK_RECIPES,
        "grads": EXPERTS_GRADS,
        "act": ACTS,
    }
    explained: ClassVar[tuple[str, ...]] = ("dtype", "data", "seed", "order", "x_layout", "w_layout", "dy_layout", "act")

    x_layout: str = "contiguous"
    w_layout: str = "contiguous"  # of both weights
    dy_layout: str = "contiguous"
    grads: str = "all"  # which inputs require grad

    def __post_init__(self) -> None:
        super().__post_init__()
        self._choose(x_layout=LAYOUTS, w_layout=LAYOUTS, dy_layout=DY_LAYOUTS, grads=EXPERTS_GRADS)

    @classmethod
    def fitted(cls, *, loads: Sequence[int], **fields: Any) -> ExpertsCase:
        """Return the valid case nearest to fields that were chosen one by one: topk is at most E, and the loads are ``filled``.

        >>> ExpertsCase.fitted(loads=[1, 2], topk=3)
        ExpertsCase(loads=(2, 2), topk=2)
        """
        topk = min(fields.get("topk", 1), len(loads))
        return cls(loads=filled(loads, topk), **fields | {"topk": topk})

    @property
    def guarded(self) -> str:
        """How the inputs are guarded while a target runs, in words."""
        return "inputs guarded"

    def features(self) -> Iterator[str]:
        """Yield which gradients are asked for."""
        yield f"gradients of {self.grads}"

    def limits_of(self, target: Any) -> Mapping[str, object]:
        """Return, by reason, whether the case lies outside the declaration of a target for that reason; dtypes are left out."""
        return {
            **super().limits_of(target),
            "its inputs are not contiguous": not target.strides and {self.x_layout, self.w_layout, self.dy_layout} != {"contiguous"},
            "it asks for gradients": not target.backward and self.grads != "none",
        }
