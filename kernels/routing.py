"""Choose the experts of each token, and sort the (token, choice) slots by expert.

Flat slot g = t * topk + j is choice j of token t. No value is read on the host, so a call can be captured in a CUDA graph.
"""

from __future__ import annotations

import torch


def route(
    router_logits: torch.Tensor,  # [T, E]
    topk: int,
    norm_topk_prob: bool,
) -> tuple[torch.Tensor, torch.Tensor]:  # topk_weights [T, topk] in the logits' dtype, topk_ids [T, topk] int64
    """Choose ``topk`` experts per token and compute their weights, with the same steps as Hugging Face's Qwen3 router.

    The softmax over all experts and the renormalisation are computed in float32, and in float64 for float64 logits (where Hugging Face
    drops to float32). The choice is made among these probabilities, not among the logits. Differentiable in the logits.

    Raises ValueError for a topk outside [1, E].

    >>> weights, ids = route(torch.tensor([[0.0, 9.0, 9.0]]), topk=2, norm_topk_prob=True)
    >>> weights.tolist(), sorted(ids[0].tolist())
    ([[0.5, 0.5]], [1, 2])
    """
    if not 1 <= topk <= router_logits.shape[1]:
        raise ValueError(f"topk must lie in [1, {router_logits.shape[1]}], the number of experts, got {topk}")
    dtype = torch.float64 if router_logits.dtype == torch.float64 else torch.float32
    probabilities = torch.softmax(router_logits, dim=-1, dtype=dtype)
    topk_weights, topk_ids = torch.topk(probabilities, topk, dim=-1)
    if norm_topk_prob:
        topk_weights = topk_weights / topk_weights.sum(dim=-1, keepdim=True)
    return topk_weights.to(router_logits.dtype), topk_ids


def sort_by_expert(
    topk_ids: torch.Tensor,  # [T, topk] int64, each in [0, num_experts)
    num_experts: int,
) -> tuple[torch.Tensor, torch.Tensor]:  # token_counts_by_expert [E] int32, gather_indices [M] int32
    """Sort the flat slots by expert id, slots of one expert in ascending order.

    Sorted row r is flat slot ``gather_indices[r]``; expert e owns ``token_counts_by_expert[e]`` consecutive rows.

    >>> counts, gather_indices = sort_by_expert(torch.tensor([[2, 0], [0, 2]]), num_experts=3)
    >>> counts.tolist(), gather_indices.tolist()
    ([2, 0, 2], [1, 2, 0, 3])
    """
    slots = topk_ids.reshape(-1)
    keys = slots.to(torch.uint8 if num_experts <= 1 << 8 else torch.int16 if num_experts <= 1 << 15 else torch.int32)
    order = torch.argsort(keys, stable=True)  # a radix sort makes one pass for every one or two bytes of a key
    return count_by_expert(slots, num_experts), order.to(torch.int32)


def count_by_expert(
    slots: torch.Tensor,  # [M] int64, each in [0, num_experts)
    num_experts: int,
) -> torch.Tensor:  # [num_experts] int32
    """Return the number of slots of each expert."""
    counts = torch.zeros(num_experts, dtype=torch.int32, device=slots.device)
    return counts.scatter_add_(0, slots, torch.ones_like(slots, dtype=torch.int32))
