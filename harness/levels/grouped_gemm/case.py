"""The case of one call of a grouped GEMM."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from moefuzz.harness.base.case import (
    DTYPES,
    FAR_AXES,
    FAR_DY_LAYOUTS,
    FAR_LAYOUTS,
    GRADS,
    ORDERS,
    PERMUTES,
    RECIPES,
    RELATIONS,
    BaseCase,
    round_up,
)
from moefuzz.kernels.kernel_config import KernelConfig


@dataclass(frozen=True, repr=False)
class GroupedGemmCase(BaseCase):
    """One call of a grouped GEMM with its backward pass: M = sum(m_sizes) + tail_rows rows, E = len(m_sizes) experts.

    >>> from moefuzz.harness.levels.cases import case_from_json
    >>> case = GroupedGemmCase(m_sizes=(2, 0), N=3, K=4, dtype='bfloat16')
    >>> case
    GroupedGemmCase(m_sizes=(2, 0), N=3, K=4, dtype='bfloat16')
    >>> eval(repr(case)) == case == case_from_json(case.to_json())
    True
    """

    level: ClassVar[str] = "grouped_gemm"
    rows_of: ClassVar[str] = "m_sizes"

    m_sizes: tuple[int, ...]  # rows of each expert
    N: int = 1
    K: int = 1
    dtype: str = "float32"
    topk: int = 1
    permute: str = "none"  # "x": X is gathered; "y": Y is scattered
    is_first_gemm: bool = True  # under permute "x": X holds one row a token, M = T * topk
    fuse_mul_post: bool = False  # multiply by the routing weight; forward only
    tail_rows: int = 0  # rows beyond the sum of m_sizes; they hold NaN
    order: str = "sorted"  # gather_indices: sorted row r came from slot r, from M - 1 - r, or from a shuffled one
    x_layout: str = "contiguous"
    w_layout: str = "contiguous"
    dy_layout: str = "contiguous"
    grads: str = "XW"  # which inputs require grad
    config: KernelConfig | None = KernelConfig()  # of all three passes, aligned where they can be; None: the target's own choice
    data: str = "integers"
    seed: int = 0
    relation: str = ""  # a second call to be compared with the first: see relations.py

    def __post_init__(self) -> None:
        self._typed()
        self._at_least(1, "N", "K", "topk")
        self._at_least(0, "tail_rows", "seed")
        self._choose(dtype=DTYPES, permute=PERMUTES, order=ORDERS, x_layout=FAR_LAYOUTS, w_layout=FAR_LAYOUTS, dy_layout=FAR_DY_LAYOUTS)
        self._choose(grads=GRADS, data=RECIPES, relation=("", *RELATIONS))
        layouts = (self.x_layout, self.w_layout, self.dy_layout)
        config = self.config
        if config and config.wide and (self.N % 8 or self.K % 8 or layouts != ("contiguous",) * 3):
            raise ValueError(f"{config} needs contiguous operands, N and K multiples of 8, got N={self.N}, K={self.K}, {layouts}")
        if self.M % self.topk:
            raise ValueError(f"topk must divide the number of rows {self.M}, got {self.topk}")
        if self.fuse_mul_post and self.grads:
            raise ValueError(f"fuse_mul_post has no backward pass, so grads must be '', got {self.grads!r}")

    @classmethod
    def fitted(cls, *, m_sizes: Sequence[int], **fields: Any) -> GroupedGemmCase:
        """The valid case nearest to fields that were chosen one by one.

        The last expert takes the rows that are missing to a multiple of topk; an aligned or tma config rounds N and K up to 8 and wants
        contiguous operands; fuse_mul_post has no gradients; what has no effect goes back to its default.

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
    def elements(self) -> int:
        """Of X, W and Y, and of the gaps in an operand whose strides are far."""
        far = sum(layout in FAR_AXES for layout in (self.x_layout, self.w_layout, self.dy_layout))
        return self.M * (self.K + self.N) + self.E * self.N * self.K + far * 2**31

    @property
    def configs(self) -> tuple[KernelConfig | None, KernelConfig | None, KernelConfig | None]:
        """Those of forward, dX and dW: forward and dX can be aligned where their contraction is a whole number of tiles."""
        config = self.config
        if config is None or not config.aligned:
            return (config,) * 3
        masked = dataclasses.replace(config, aligned=False)
        return (masked if self.K % config.block_k else config, masked if self.N % config.block_n else config, config)

    @property
    def tokens_in(self) -> bool:
        """X holds one row a token rather than one a (token, choice)."""
        return self.permute == "x" and self.is_first_gemm
