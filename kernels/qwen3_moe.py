"""The Qwen3 MoE block on a grouped GEMM: one block in plain torch and one on the Triton op, both modelled on Hugging Face's block.

    logits = h gate^T;  route;  sort slots by expert;  first GEMM;  act(gate half) * up half;  second GEMM;  unsort;  weigh;  sum over topk

Rows between the GEMMs are sorted by expert; sorted row r is flat slot gather_indices[r] = t * topk + j. Empty experts, T = 0, topk = 1
and topk = E are ordinary cases, forward and backward.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

from .experts import fused_gated, gated
from .grouped_gemm import grouped_gemm
from .kernel_config import KernelConfig
from .moe_details.combine_rows import weighted_sum
from .qwen3_hf import clone_experts, config_of
from .reference import grouped_gemm_reference
from .routing import route, sort_by_expert


@dataclass(frozen=True)
class GroupedGEMMResult:
    """Every intermediate result of one forward pass, attached to the autograd graph; M = T * topk."""

    token_counts_by_expert: torch.Tensor  # [E] int32
    gather_indices: torch.Tensor  # [M] int32
    topk_weights: torch.Tensor  # [T, topk]
    first_gemm: torch.Tensor  # [M, 2I], sorted by expert
    intermediate: torch.Tensor  # [M, I], sorted by expert
    second_gemm: torch.Tensor  # [M, H], sorted by expert; in flat-slot order under permute_y
    hidden_states_unpermute: torch.Tensor  # [M, H], in flat-slot order
    hidden_states: torch.Tensor  # [T, H]


class GroupedGEMMBlock(nn.Module, ABC):
    """The base of the two blocks of this file, with their parameters, routing, activation and weighted sum.

    ``gate`` [E, H], ``gate_up_proj`` [E, 2I, H] and ``down_proj`` [E, H, I] are copied into parameters.
    Raises ValueError if their shapes do not fit each other or num_experts_per_tok.
    """

    def __init__(
        self,
        gate: torch.Tensor,
        gate_up_proj: torch.Tensor,
        down_proj: torch.Tensor,
        num_experts_per_tok: int,
        norm_topk_prob: bool = True,
        hidden_act: str = "silu",
    ) -> None:
        super().__init__()
        E, H, intermediate = down_proj.shape
        for name, shape, wanted in (("gate", gate.shape, (E, H)), ("gate_up_proj", gate_up_proj.shape, (E, 2 * intermediate, H))):
            if tuple(shape) != wanted:
                raise ValueError(f"{name} must have shape {wanted} beside down_proj {tuple(down_proj.shape)}, got {tuple(shape)}")
        if not 1 <= num_experts_per_tok <= E:
            raise ValueError(f"num_experts_per_tok must lie in [1, {E}], got {num_experts_per_tok}")
        self.gate = nn.Parameter(gate.detach().clone())
        self.gate_up_proj = nn.Parameter(gate_up_proj.detach().clone())
        self.down_proj = nn.Parameter(down_proj.detach().clone())
        self.num_experts_per_tok = num_experts_per_tok
        self.norm_topk_prob = norm_topk_prob
        self.act = ACT2FN[hidden_act]

    @classmethod
    def from_hf(cls, block: Qwen3MoeSparseMoeBlock, **keywords: Any) -> Self:
        """Return a block with copies of a Hugging Face block's weights, frozen if they are; ``keywords`` go to the constructor."""
        config = config_of(block)
        ours = cls(
            **_fused_weights(block),
            num_experts_per_tok=config.num_experts_per_tok,
            norm_topk_prob=config.norm_topk_prob,
            hidden_act=config.hidden_act,
            **keywords,
        )
        ours.gate.requires_grad_(block.gate.weight.requires_grad)
        for parameter in (ours.gate_up_proj, ours.down_proj):
            parameter.requires_grad_(any(weight.requires_grad for weight in block.experts.parameters()))
        return ours

    @abstractmethod
    def first_grouped_gemm(self, tokens: torch.Tensor, m_sizes: torch.Tensor, gather_indices: torch.Tensor) -> torch.Tensor:
        """Compute the first GEMM: tokens [T, H] in token order -> [M, 2I] sorted by expert."""

    @abstractmethod
    def second_grouped_gemm(
        self, intermediate: torch.Tensor, m_sizes: torch.Tensor, gather_indices: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the second GEMM: intermediate [M, I] sorted by expert -> (its output [M, H], the same in flat-slot order [M, H])."""

    def gated(self, first_gemm: torch.Tensor) -> torch.Tensor:
        """Return act(gate half) * up half: [M, 2I] -> [M, I]."""
        return gated(first_gemm, self.act)

    def weighted_sum(self, unpermuted: torch.Tensor, topk_weights: torch.Tensor) -> torch.Tensor:
        """Return the weighted sum over the slots of each token: rows [M, H] in flat-slot order, weights [T, topk] -> [T, H]."""
        return (unpermuted.view(*topk_weights.shape, unpermuted.shape[1]) * topk_weights[..., None]).sum(1)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Compute the block: hidden_states [B, S, H] -> [B, S, H]."""
        return self.run(hidden_states)[0]

    def run(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, GroupedGEMMResult]:
        """Compute the block: hidden_states [B, S, H] -> (hidden states [B, S, H], router_logits [T, E], all intermediates); T = B * S."""
        tokens = hidden_states.reshape(-1, hidden_states.shape[-1])
        router_logits = nn.functional.linear(tokens, self.gate)
        topk_weights, topk_ids = route(router_logits, self.num_experts_per_tok, self.norm_topk_prob)
        m_sizes, gather_indices = sort_by_expert(topk_ids, self.gate.shape[0])
        first_gemm = self.first_grouped_gemm(tokens, m_sizes, gather_indices)
        intermediate = self.gated(first_gemm)
        second_gemm, unpermuted = self.second_grouped_gemm(intermediate, m_sizes, gather_indices)
        output = self.weighted_sum(unpermuted, topk_weights)
        result = GroupedGEMMResult(
            token_counts_by_expert=m_sizes,
            gather_indices=gather_indices,
            topk_weights=topk_weights,
            first_gemm=first_gemm,
            intermediate=intermediate,
            second_gemm=second_gemm,
            hidden_states_unpermute=unpermuted,
            hidden_states=output,
        )
        return output.view(hidden_states.shape), router_logits, result

    def check_weights(self, hf_block: Qwen3MoeSparseMoeBlock) -> None:
        """Raise ValueError, naming the parameter and the first differing index, unless all weights equal those of ``hf_block``."""
        for name, theirs in _fused_weights(hf_block).items():
            ours = self.get_parameter(name).detach()
            if (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
                raise ValueError(f"{name} is {ours.dtype} {tuple(ours.shape)} here, {theirs.dtype} {tuple(theirs.shape)} in the HF block")
            differs = (ours != theirs) & ~(ours.isnan() & theirs.isnan())
            if differs.any():
                index = tuple(differs.nonzero()[0].tolist())
                raise ValueError(f"{name} differs at {list(index)}: {ours[index].item()} here, {theirs[index].item()} in the HF block")


class Qwen3MoeGroupedGEMMBlock(GroupedGEMMBlock):
    """The block in plain torch, for any float type (float64 throughout for float64 weights); it reads the expert loads on the host."""

    def first_grouped_gemm(self, tokens: torch.Tensor, m_sizes: torch.Tensor, gather_indices: torch.Tensor) -> torch.Tensor:
        rows = sort_rows(tokens, gather_indices, self.num_experts_per_tok)
        return grouped_gemm_reference(rows, self.gate_up_proj, m_sizes, self.num_experts_per_tok)

    def second_grouped_gemm(
        self, intermediate: torch.Tensor, m_sizes: torch.Tensor, gather_indices: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        stored = grouped_gemm_reference(intermediate, self.down_proj, m_sizes, self.num_experts_per_tok, is_first_gemm=False)
        return stored, unsort_rows(stored, gather_indices)


class Qwen3MoeFusedGroupedGEMMBlock(GroupedGEMMBlock):
    """The block on the Triton op, with Triton kernels for SiLU or ReLU and for the weighted sum; no value is read on the host.

    - ``permute_x``: the first GEMM gathers its rows from the tokens, instead of reading a sorted copy.
    - ``permute_y``: the second GEMM stores its rows in flat-slot order, so that no copy is needed.
    - ``autotune`` and ``kernel_config_*``: as in ``grouped_gemm``, for both GEMMs.
    """

    def __init__(
        self,
        *args: Any,
        permute_x: bool = False,
        permute_y: bool = False,
        autotune: bool = False,
        kernel_config_fwd: KernelConfig | None = None,
        kernel_config_bwd_dX: KernelConfig | None = None,
        kernel_config_bwd_dW: KernelConfig | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__(*args, **keywords)
        self.permute_x = permute_x
        self.permute_y = permute_y
        self.launch_options: dict[str, Any] = {
            "autotune": autotune,
            "kernel_config_fwd": kernel_config_fwd,
            "kernel_config_bwd_dX": kernel_config_bwd_dX,
            "kernel_config_bwd_dW": kernel_config_bwd_dW,
        }

    def first_grouped_gemm(self, tokens: torch.Tensor, m_sizes: torch.Tensor, gather_indices: torch.Tensor) -> torch.Tensor:
        rows = tokens if self.permute_x else sort_rows(tokens, gather_indices, self.num_experts_per_tok)
        return self._grouped_gemm(rows, self.gate_up_proj, m_sizes, gather_indices, permute_x=self.permute_x, is_first_gemm=True)

    def second_grouped_gemm(
        self, intermediate: torch.Tensor, m_sizes: torch.Tensor, gather_indices: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        options = {"permute_y": self.permute_y, "is_first_gemm": False}
        stored = self._grouped_gemm(intermediate, self.down_proj, m_sizes, gather_indices, **options)
        return stored, stored if self.permute_y else unsort_rows(stored, gather_indices)

    def gated(self, first_gemm: torch.Tensor) -> torch.Tensor:
        return fused_gated(first_gemm, self.act)

    def weighted_sum(self, unpermuted: torch.Tensor, topk_weights: torch.Tensor) -> torch.Tensor:
        return weighted_sum(unpermuted, topk_weights)

    def _grouped_gemm(self, X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor, slots: torch.Tensor, **options: Any) -> torch.Tensor:
        return grouped_gemm(X, W, m_sizes, self.num_experts_per_tok, slots, **options, **self.launch_options)


def sort_rows(tokens: torch.Tensor, gather_indices: torch.Tensor, topk: int) -> torch.Tensor:
    """Sort tokens by expert: [T, H] in token order -> [M, H]; sorted row r is tokens[gather_indices[r] // topk]."""
    # Expand to one row per slot first: the gradient of that is one sum over topk, accumulated in float32 and rounded once, while that of
    # tokens[gather_indices // topk] adds in the dtype, on a GPU in no fixed order.
    slots = tokens[:, None].expand(-1, topk, -1).reshape(-1, tokens.shape[1])
    return slots.index_select(0, gather_indices)


def unsort_rows(rows: torch.Tensor, gather_indices: torch.Tensor) -> torch.Tensor:
    """Undo the sorting: sorted rows [M, H] -> flat-slot order [M, H]; slot gather_indices[r] is rows[r]."""
    return torch.zeros_like(rows).index_copy(0, gather_indices.long(), rows)


def _fused_weights(block: Qwen3MoeSparseMoeBlock) -> dict[str, torch.Tensor]:
    """Return a Hugging Face block's weights by the names of the parameters here."""
    gate_proj, up_proj, down_proj = clone_experts(block)
    return {"gate": block.gate.weight.detach(), "gate_up_proj": torch.cat((gate_proj, up_proj), dim=1), "down_proj": down_proj}
