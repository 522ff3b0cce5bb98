"""SonicMoE's experts, CuTe DSL and Triton kernels for Hopper: ``sonicmoe.functional.moe_general_routing_inputs``. SwiGLU alone.

Its ``concat_layout`` has the gate rows first. Its kernels take 16-bit dtypes, rows of multiples of 16 bytes, and operands contiguous along
rows. The package's own tests run bfloat16, and H and I in multiples of 256.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from moefuzz.harness.targets import Target


def general_routing(
    hidden_states: torch.Tensor,
    top_k_index: torch.Tensor,
    top_k_weights: torch.Tensor,
    gate_up_proj: torch.Tensor,
    down_proj: torch.Tensor,
    act: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Return the sum over experts for each token; SonicMoE takes the axis of experts last, and float32 weights."""
    from sonicmoe.enums import ActivationType
    from sonicmoe.functional import moe_general_routing_inputs

    if act is not torch.nn.functional.silu:
        raise ValueError("this adapter asks SonicMoE for SwiGLU alone")
    T, topk = top_k_index.shape
    E, stream = len(down_proj), torch.cuda.current_stream().cuda_stream
    tokens = torch.arange(T, dtype=torch.int32, device=hidden_states.device).repeat_interleave(topk)
    out: torch.Tensor = moe_general_routing_inputs(
        hidden_states, top_k_weights.flatten().float(), tokens, top_k_index.flatten().to(torch.int32),
        gate_up_proj.permute(1, 2, 0), None, down_proj.permute(1, 2, 0), None, E, stream, ActivationType.SWIGLU, concat_layout=True,
    )[0]  # fmt: skip
    return out


sonicmoe_experts = Target(
    "sonicmoe_experts", general_routing, level="experts", acts=("silu",), dtypes=("bfloat16", "float16"), strides=False, row_bytes=16,
    devices=("cuda",), module="sonicmoe.functional", install="pip install sonic-moe (it needs a Hopper GPU)",
)  # fmt: skip
