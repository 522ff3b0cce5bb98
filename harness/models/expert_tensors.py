"""Find the expert tensors of a checkpoint by their names, and group them so that thousands print as a few lines."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# A path with a part `experts`, whether each expert has tensors of its own (`mlp.experts.7.gate_proj.weight`, Mixtral's
# `block_sparse_moe.experts.7.w1.weight`) or all share one (`mlp.experts.gate_up_proj`), scales and biases included; and Granite's, which
# transformers renames to such (conversion_mapping.py). `shared_experts` and `shared_expert` are other parts.
_EXPERT = re.compile(r"(?:^|\.)experts\.|(?:^|\.)block_sparse_moe\.(?:input|output)_linear\.")


@dataclass(frozen=True)
class ExpertTensors:
    """Tensors whose names differ only in their numbers."""

    pattern: str  # each number of the name replaced by *
    shape: tuple[int, ...]
    dtype: str  # as safetensors names it: BF16, F8_E4M3, U8
    count: int
    numbers: tuple[int, ...]  # how many different numbers each * replaces: layers, then experts

    def __str__(self) -> str:
        """Return one line; the count is a product if no tensor is missing.

        >>> str(ExpertTensors("layers.*.mlp.experts.*.up_proj.weight", (768, 2048), "BF16", 6144, (48, 128)))
        'layers.*.mlp.experts.*.up_proj.weight  [768, 2048]  BF16  48 x 128'
        """
        whole = len(self.numbers) > 0 and math.prod(self.numbers) == self.count
        return f"{self.pattern}  {list(self.shape)}  {self.dtype}  {' x '.join(map(str, self.numbers)) if whole else self.count}"


@dataclass(frozen=True)
class ExpertMetadata:
    """The expert tensors of one commit of a model."""

    model_id: str
    revision: str  # the commit
    tensors: tuple[ExpertTensors, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.tensors))


def is_expert(name: str) -> bool:
    """Return whether a tensor belongs to the routed experts.

    >>> is_expert("model.layers.0.mlp.experts.0.gate_proj.weight"), is_expert("model.layers.0.mlp.shared_experts.gate_proj.weight")
    (True, False)
    """
    return _EXPERT.search(name) is not None


def group(tensors: Mapping[str, tuple[Sequence[Any], str]]) -> tuple[ExpertTensors, ...]:
    """Return the expert tensors among ``tensors`` (name to shape and dtype), grouped by pattern, shape and dtype.

    Raises ValueError for an invalid shape.
    """
    found: dict[tuple[str, tuple[int, ...], str], list[list[str]]] = defaultdict(list)
    for name, (shape, dtype) in tensors.items():
        if not is_expert(name):
            continue
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"{name} has the shape {shape!r}")
        parts = name.split(".")
        pattern = ".".join("*" if part.isdigit() else part for part in parts)
        found[pattern, tuple(shape), dtype].append([part for part in parts if part.isdigit()])
    return tuple(
        ExpertTensors(pattern, shape, dtype, len(rows), tuple(len(set(column)) for column in zip(*rows, strict=True)))
        for (pattern, shape, dtype), rows in sorted(found.items())
    )
