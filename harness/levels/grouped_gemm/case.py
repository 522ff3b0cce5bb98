"""The case of one call of a grouped GEMM."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from moefuzz.harness.base.case import (
    DTYPES,
    FAR_AXES,
    FAR_DY_LAYOUTS,
    FAR_LAYOUTS,
    PERMUTES,
    RECIPES,
    Case,
    round_up,
)
from moefuzz.kernels.kernel_config import KernelConfig

ORDERS = ("sorted", "reversed", "shuffled")
GRADS = ("XW", "X", "W", "")
RELATIONS = (
    "repeated", "other shapes between", "experts permuted", "rows permuted", "empty expert inserted", "expert split", "rows in two calls",
    "row copied", "N padded", "K padded", "scaled", "foreign rows NaN", "foreign weights NaN", "other tiles", "strides dropped",
    "fewer gradients", "gradients accumulated", "autocast", "other stream", "graph replayed",
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class GroupedGemmCase(Case):
    """One call of a grouped GEMM with its backward pass: M = sum(m_sizes) + tail_rows rows, E = len(m_sizes) experts.

    >>> from moefuzz.harness.base.case_text import case_from_json
    >>> case = GroupedGemmCase(m_sizes=(2, 0), N=3, K=4, dtype='bfloat16')
    >>> case
    GroupedGemmCase(m_sizes=(2, 0), N=3, K=4, dtype='bfloat16')
    >>> eval(repr(case)) == case == case_from_json(case.to_json())
    True
    """

    level: ClassVar[str] = "grouped_gemm"
    rows_of: ClassVar[str] = "m_sizes"
    sizes: ClassVar[Mapping[str, int]] = {"N": 1, "K": 1, "tail_rows": 0}
    tiles: ClassVar[Mapping[str, str]] = {"N": "block_n", "K": "block_k"}
    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "relation": ("",),
        "topk": (1, 2, 3, 4),
        "permute": PERMUTES,
        "fuse_mul_post": (False,),
        "is_first_gemm": (True,),
        "order": ORDERS,
        "x_layout": FAR_LAYOUTS,
        "w_layout": FAR_LAYOUTS,
        "dy_layout": FAR_DY_LAYOUTS,
        "dtype": DTYPES,
        "data": RECIPES,
        "grads": GRADS,
        "config": (KernelConfig(),),
    }
    explained: ClassVar[tuple[str, ...]] = (
        "dtype", "data", "seed", "order", "permute", "is_first_gemm", "x_layout", "w_layout", "dy_layout", "config",
    )  # fmt: skip

    m_sizes: tuple[int, ...]  # rows of each expert
    N: int = 1
    K: int = 1
    dtype: str = "float32"
    topk: int = 1
    permute: str = "none"  # "x": X is gathered; "y": Y is scattered
    is_first_gemm: bool = True  # under permute "x": X holds one row for each token, M = T * topk
    fuse_mul_post: bool = False  # multiply by the routing weight; forward only
    tail_rows: int = 0  # rows beyond the sum of m_sizes; they hold NaN
    order: str = "sorted"  # gather_indices: sorted row r came from slot r, from M - 1 - r, or from a shuffled one
    x_layout: str = "contiguous"
    w_layout: str = "contiguous"
    dy_layout: str = "contiguous"
    grads: str = "XW"  # which inputs require grad
    config: KernelConfig | None = KernelConfig()  # of all three passes, aligned where possible; None: the target chooses
    data: str = "integers"
    seed: int = 0
    relation: str = ""  # the relation that a second call is checked for: see relations.py

    def __post_init__(self) -> None:
        self._typed()
        self._at_least(1, "N", "K", "topk")
        self._at_least(0, "tail_rows", "seed")
        self._choose(dtype=DTYPES, permute=PERMUTES, order=ORDERS, x_layout=FAR_LAYOUTS, w_layout=FAR_LAYOUTS, dy_layout=FAR_DY_LAYOUTS)
        self._choose(grads=GRADS, data=RECIPES, relation=("", *RELATIONS))
        layouts = tuple(self.layouts.values())
        config = self.config
        if config and config.wide and (self.N % 8 or self.K % 8 or layouts != ("contiguous",) * 3):
            raise ValueError(f"{config} needs contiguous operands, N and K multiples of 8, got N={self.N}, K={self.K}, {layouts}")
        if self.M % self.topk:
            raise ValueError(f"topk must divide the number of rows {self.M}, got {self.topk}")
        if self.fuse_mul_post and self.grads:
            raise ValueError(f"fuse_mul_post has no backward pass, so grads must be '', got {self.grads!r}")

    @classmethod
    def fitted(cls, *, m_sizes: Sequence[int], **fields: Any) -> GroupedGemmCase:
        """Return the valid case nearest to fields that were chosen one by one.

        The last expert takes the rows that are missing to a multiple of topk. An aligned or tma config rounds N and K up to multiples of 8
        and makes operands contiguous. fuse_mul_post has no gradients. A field without effect is reset to its default.

        >>> GroupedGemmCase.fitted(m_sizes=[2, 1], topk=2, fuse_mul_post=True, order="reversed")
        GroupedGemmCase(m_sizes=(2, 2), topk=2, fuse_mul_post=True, order='reversed', grads='')
        """
        config = fields.get("config", KernelConfig())
        if config is not None and config.wide:
            fields |= {"N": round_up(fields.get("N", 1), 8), "K": round_up(fields.get("K", 1), 8)}
            fields |= {"x_layout": "contiguous", "w_layout": "contiguous", "dy_layout": "contiguous"}
        if fields.get("fuse_mul_post"):
            fields |= {"grads": ""}
        elif fields.get("permute", "none") == "none":
            fields |= {"order": "sorted", "topk": 1}
        if fields.get("permute") != "x":
            fields |= {"is_first_gemm": True}
        missing = -(sum(m_sizes) + fields.get("tail_rows", 0)) % fields.get("topk", 1)
        return cls(m_sizes=(*m_sizes[:-1], m_sizes[-1] + missing), **fields)

    @property
    def M(self) -> int:
        return sum(self.m_sizes) + self.tail_rows

    @property
    def E(self) -> int:
        return len(self.m_sizes)

    @property
    def layouts(self) -> dict[str, str]:
        """The layout of each operand."""
        return {"X": self.x_layout, "W": self.w_layout, "dY": self.dy_layout}

    @property
    def elements(self) -> int:
        """The number of elements of X, W and Y, and of the gaps of an operand whose strides are far."""
        far = sum(layout in FAR_AXES for layout in self.layouts.values())
        return self.M * (self.K + self.N) + self.E * self.N * self.K + far * 2**31

    @property
    def configs(self) -> tuple[KernelConfig | None, KernelConfig | None, KernelConfig | None]:
        """The configs of forward, dX and dW: forward and dX can be aligned where their contraction is a whole number of tiles."""
        config = self.config
        if config is None or not config.aligned:
            return (config,) * 3
        masked = dataclasses.replace(config, aligned=False)
        return (masked if self.K % config.block_k else config, masked if self.N % config.block_n else config, config)

    @property
    def tokens_in(self) -> bool:
        """Whether X holds one row for each token, rather than one for each (token, choice)."""
        return self.permute == "x" and self.is_first_gemm

    @property
    def is_far(self) -> bool:
        """Whether an operand spans gigabytes because of its strides."""
        return not FAR_AXES.keys().isdisjoint(self.layouts.values())

    @property
    def guarded(self) -> str:
        """The inputs that are guarded while a target runs, as words: far ones lie outside the arena."""
        far = [name for name, layout in self.layouts.items() if layout in FAR_AXES]
        return f"inputs but {' and '.join(far)} guarded" if far else "inputs guarded"

    def features(self) -> Iterator[str]:
        """Yield which gradients are asked for."""
        yield f"gradients of {self.grads or 'nothing'}"
        yield from (f"a gradient of {name}" for name in ("X", "W") if name in self.grads)

    def simpler(self) -> Iterator[dict[str, Any]]:
        """Yield changes towards fewer tail rows and a smaller topk; the last expert's rows keep M a multiple of topk."""
        *others, last = self.m_sizes
        if self.tail_rows:
            yield {"m_sizes": (*others, last + self.tail_rows), "tail_rows": 0}
        for topk in range(1, self.topk):
            yield {"topk": topk, "tail_rows": 0, "m_sizes": (*others, last + -sum(self.m_sizes) % topk)}

    def neighbours(self) -> Iterator[dict[str, Any]]:
        """Yield a change to more rows that no expert owns."""
        yield {"tail_rows": self.tail_rows + self.topk}

    def can_be_put_to(self, target: Any) -> bool:
        """Return whether a target has the keywords of the case, and declares what it does with rows that no expert owns."""
        if not self.is_first_gemm and "is_first_gemm" not in target.keywords:
            return False
        can_permute = self.permute in target.permutes and (target.fuses or not self.fuse_mul_post)
        return can_permute and (target.tail_rows != "unspecified" or not self.tail_rows)

    def limits_of(self, target: Any) -> Mapping[str, object]:
        """Return, by reason, whether the case lies outside the declaration of a target for that reason; dtypes are left out."""
        n_multiple, k_multiple = target.multiples(self.dtype)
        return {
            f"N is no multiple of {n_multiple}": self.N % n_multiple,
            f"K is no multiple of {k_multiple}": self.K % k_multiple,
            f"not all of m_sizes are multiples of {target.m_multiple}": any(size % target.m_multiple for size in self.m_sizes),
            "it has rows beyond the sum of m_sizes": target.tail_rows == "refused" and self.tail_rows,
            "it has no rows": not target.zero_rows and not any(self.m_sizes),
            "its inputs are not contiguous": not target.strides and set(self.layouts.values()) != {"contiguous"},
            "it asks for gradients": not target.backward and self.grads,
        }

    def expert_of(self, shape: tuple[int, ...], element: tuple[int, ...]) -> tuple[int, int] | None:
        """Return the expert, and the row within it, of an element of weights or of an argument with sorted rows."""
        if len(shape) != 2 or shape[0] != self.M or self.permute != "none":
            return super().expert_of(shape, element)
        ends = list(itertools.accumulate(self.m_sizes))
        expert = bisect.bisect_right(ends, element[0])
        return expert, element[0] - [0, *ends][expert]
