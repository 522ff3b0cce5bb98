"""The contract of the experts of a block; the docstring of ``Target`` has it in full."""

from __future__ import annotations

from moefuzz.harness.base.contract import Contract

from .case import ExpertsCase

CONTRACT = Contract(
    level="experts",
    case=ExpertsCase,
    parameters=("hidden_states", "top_k_index", "top_k_weights", "gate_up_proj", "down_proj", "act"),
    inputs=("X", "topk_ids", "topk_weights", "gate_up_proj", "down_proj", "dY"),
    passes={
        "output": "forward",
        "X_grad": "backward",
        "topk_weights_grad": "backward",
        "gate_up_proj_grad": "backward",
        "down_proj_grad": "backward",
    },
    limits=("dtypes", "zero_rows", "k_multiple", "row_bytes", "strides", "backward", "acts"),
    own_targets=("moefuzz.kernels.experts:triton_experts",),
)
