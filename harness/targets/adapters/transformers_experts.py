"""transformers' experts implementations in a Qwen3 MoE block, by the names with which a model selects them; moefuzz's own is one.

They need transformers 5. ``grouped_mm`` calls torch's, which raises where rows of hidden_size or moe_intermediate_size elements are no
multiples of 16 bytes. ``deepgemm`` and ``sonicmoe`` fetch their kernels from the Hub, so they are no targets here.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from moefuzz.harness.targets import Target
from moefuzz.kernels import experts

experts.register()


def block_with(block: Any, experts_implementation: str) -> nn.Module:
    """Return the block, with its experts set to the implementation of that name."""
    block.experts.config._experts_implementation = experts_implementation
    module: nn.Module = block
    return module


def _batched_mm(block: Any) -> nn.Module:
    return block_with(block, "batched_mm")


def _grouped_mm(block: Any) -> nn.Module:
    return block_with(block, "grouped_mm")


def _triton(block: Any) -> nn.Module:
    return block_with(block, experts.NAME)


batched_mm = Target("batched_mm", _batched_mm, level="moe_block", float32_reductions=True, module="transformers")
grouped_mm = Target("grouped_mm", _grouped_mm, level="moe_block", float32_reductions=True, row_bytes=16, module="transformers")
triton = Target("triton", _triton, level="moe_block", float32_reductions=True)
