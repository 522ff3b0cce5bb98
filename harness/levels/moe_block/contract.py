"""The contract of a Qwen3 MoE block: ``f(block: Qwen3MoeSparseMoeBlock, **keywords) -> Module``."""

from __future__ import annotations

from moefuzz.harness.base.contract import Contract

from .case import MoeBlockCase

CONTRACT = Contract(
    level="moe_block",
    case=MoeBlockCase,
    parameters=("block",),
    inputs=("X", "dY"),
    passes={
        "router_logits": "forward",
        "topk_weights": "forward",
        "first_gemm": "forward",
        "intermediate": "forward",
        "second_gemm": "forward",
        "hidden_states_unpermute": "forward",
        "output": "forward",
        "X_grad": "backward",
        "gate_grad": "backward",
        "gate_proj_grad": "backward",
        "up_proj_grad": "backward",
        "down_proj_grad": "backward",
    },
    limits=("dtypes", "zero_rows", "k_multiple", "row_bytes", "acts"),
    own_targets=tuple(f"moefuzz.harness.targets.blocks:{name}_block" for name in ("triton", "torch", "hugging_face")),
    own_fields={"float32_reductions": True},
)
