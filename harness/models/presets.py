"""Shapes of released Mixture-of-Experts models, read from models.toml."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType


@dataclass(frozen=True)
class MoeShape:
    """The numbers that decide the shapes of one MoE block, under Hugging Face's names, and their source.

    ``norm_topk_prob`` is what the model does, even if its config has no such key. ``note`` says what a Qwen3 block of this shape does not
    compute; it is empty if the whole block is a Qwen3 block. Raises ValueError for numbers that no block can have.
    """

    model_id: str
    num_experts: int
    num_experts_per_tok: int
    hidden_size: int
    moe_intermediate_size: int
    norm_topk_prob: bool
    source: str
    note: str = ""

    def __post_init__(self) -> None:
        for name in ("num_experts", "num_experts_per_tok", "hidden_size", "moe_intermediate_size"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ValueError(f"{name} must be a whole number from 1 on, got {getattr(self, name)!r}")
        if self.num_experts_per_tok > self.num_experts:
            raise ValueError(f"num_experts_per_tok must be at most num_experts = {self.num_experts}, got {self.num_experts_per_tok}")
        if type(self.norm_topk_prob) is not bool:
            raise ValueError(f"norm_topk_prob must be true or false, got {self.norm_topk_prob!r}")


@functools.cache
def presets() -> Mapping[str, MoeShape]:
    """Return all shapes of models.toml by model id, the Qwen3 family first.

    >>> presets()["allenai/OLMoE-1B-7B-0924"].num_experts
    64
    """
    rows = tomllib.loads(Path(__file__).with_name("models.toml").read_text())
    return MappingProxyType({model_id: MoeShape(model_id, **row) for model_id, row in rows.items()})


def preset(model_id: str) -> MoeShape:
    """Return the shape of a model in models.toml. Raises ValueError, with the known ids, if it has none."""
    if model_id not in presets():
        raise ValueError(f"no preset {model_id!r}, known are {', '.join(presets())}")
    return presets()[model_id]


def qwen3_blocks() -> list[MoeShape]:
    """Return the presets whose whole MoE block is a Qwen3 block."""
    return [shape for shape in presets().values() if not shape.note]
