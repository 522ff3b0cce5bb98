"""Bounds on what a correct Qwen3 MoE block computes: each intermediate and gradient with its carried error.

    logits = X gate^T;   p = softmax(logits);   w = p of the topk, over their sum if norm_topk_prob;   experts of X and w

``experts/bounds.py`` says what the experts may compute, and what a carried tensor is. These further stores may round to the dtype, and need
not:

    forward    logits, topk weights
    backward   the logits' gradient, the router's dX, and each of the topk adds of all contributions to X's gradient

Softmax and the router's backward are computed in float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from moefuzz.harness.levels.experts.bounds import experts_bounds
from moefuzz.harness.numerics.bounds import TINY, Float64Array, U
from moefuzz.harness.numerics.error_analysis import (
    Bounded,
    bounded,
    cat,
    contract,
    exact,
    exp_error,
    softmax,
    softmax_distance,
    stored,
    sum_stored,
)
from moefuzz.harness.numerics.segments import Int64Array


@dataclass(frozen=True)
class BlockBounds:
    """The carried tensors of one forward and backward pass, under the names of the results; M = T * topk."""

    router_logits: Bounded  # [T, E]
    topk_weights: Bounded  # [T, topk]
    first_gemm: Bounded  # [M, 2I], sorted by expert
    intermediate: Bounded  # [M, I], sorted by expert
    second_gemm: Bounded  # [M, H], sorted by expert
    hidden_states_unpermute: Bounded  # [M, H], in flat-slot order
    output: Bounded  # [T, H]
    X_grad: Bounded  # [T, H]
    gate_grad: Bounded  # [E, H]
    gate_proj_grad: Bounded  # [E, I, H]
    up_proj_grad: Bounded  # [E, I, H]
    down_proj_grad: Bounded  # [E, H, I]
    topk_ids: Int64Array  # [T, topk]
    m_sizes: Int64Array  # [E]
    gather_indices: Int64Array  # [M]
    router_gap: Float64Array  # [T]; above 0 the routing is unambiguous

    def carried(self) -> dict[str, Bounded]:
        """Return the carried tensors by name, in the order in which they are computed."""
        return {name: tensor for name, tensor in vars(self).items() if isinstance(tensor, Bounded)}


@np.errstate(all="ignore")
def block_bounds(
    X: Tensor,  # [T, H]
    gate: Tensor,  # [E, H]
    gate_up_proj: Tensor,  # [E, 2I, H]
    down_proj: Tensor,  # [E, H, I]
    dY: Tensor,  # [T, H]
    *,
    topk: int,
    norm_topk_prob: bool,
    act: str,
    dtype: torch.dtype,
    topk_ids: Tensor | None = None,
    topk_weights: Tensor | None = None,
) -> BlockBounds:
    """Carry the errors through the block, for inputs already in ``dtype``; return the bounds.

    - ``act``: "silu" or "relu".
    - ``topk_ids`` [T, topk]: the routing to follow, the largest logits of each token in the order of the implementation; by default that of
      ``torch.topk`` in float64, in descending order, ties in any order.
    - ``topk_weights`` [T, topk]: an implementation's own rounded weights, from which the bounds of its experts start, forward and backward;
      by default all weights that a right router may return.
    """
    E, H = gate.shape
    x, g = exact(X), exact(gate)
    router_logits = contract(x, g.map(np.transpose), np.matmul, H)
    logits = stored(router_logits, dtype)
    ids = (torch.topk(torch.from_numpy(logits.value), topk).indices if topk_ids is None else topk_ids.long()).numpy()
    weights = _router_weights(logits, ids, norm_topk_prob)
    given = stored(weights, dtype) if topk_weights is None else exact(topk_weights)
    experts = experts_bounds(X, ids, given, gate_up_proj, down_proj, dY, act=act, dtype=dtype)

    d_weights = stored(experts.topk_weights_grad, dtype)
    d_logits = stored(_router_backward(logits, weights, d_weights, ids, norm_topk_prob), dtype)
    d_router = stored(contract(d_logits, g, np.matmul, E), dtype)[:, None]
    return BlockBounds(
        router_logits=router_logits,
        topk_weights=weights,
        first_gemm=experts.first_gemm,
        intermediate=experts.intermediate,
        second_gemm=experts.second_gemm,
        hidden_states_unpermute=experts.hidden_states_unpermute,
        output=experts.output,
        X_grad=sum_stored(cat((experts.X_grads, d_router), 1), 1, dtype, topk + 1),
        gate_grad=contract(d_logits.map(np.transpose), x, np.matmul, len(X)),
        gate_proj_grad=experts.gate_proj_grad,
        up_proj_grad=experts.up_proj_grad,
        down_proj_grad=experts.down_proj_grad,
        topk_ids=ids,
        m_sizes=experts.m_sizes,
        gather_indices=experts.gather_indices,
        router_gap=_router_gap(logits, topk),
    )


def _selected(x: Bounded, topk_ids: Int64Array) -> Bounded:
    return x.map(lambda t: np.take_along_axis(t, topk_ids, 1))


def _among_all(part: Float64Array, topk_ids: Int64Array, all_others: Float64Array) -> Float64Array:
    """Return [T, E]: ``part`` for the selected experts, ``all_others`` for all others."""
    out = all_others.copy()
    np.put_along_axis(out, topk_ids, part, 1)
    return out


def _router_weights(logits: Bounded, topk_ids: Int64Array, norm_topk_prob: bool) -> Bounded:
    """Return the topk weights before they are stored: softmax over all experts, or over the selected ones if these are renormalised.

    p_i / sum_selected p_j = exp(l_i) / sum_selected exp(l_j): the sum over all experts cancels, and with it its error. The selection has
    the largest logit, so that both subtract the same before the exponential.
    """
    return softmax(_selected(logits, topk_ids), 1) if norm_topk_prob else _selected(softmax(logits, 1), topk_ids)


def _router_backward(logits: Bounded, weights: Bounded, d_weights: Bounded, topk_ids: Int64Array, norm_topk_prob: bool) -> Bounded:
    """Return the gradient of the logits, float32 throughout, from that of the topk weights.

    With h the gradient of the weights q (the selected ones, renormalised; else all p, with h = 0 outside the selection)

        dl_i = q_i (h_i - sum_j q_j h_j) = sum_{j != i} q_i q_j (h_i - h_j),      and 0 for an expert that is not in q

    Carried: term by term of the second form, where topk = 1 has no term and no error. Evaluated, s = sum_selected p:

        dp_i = (h_i - sum_j h_j w_j) / s,      dl_i = p_i (dp_i - sum_j p_j dp_j)         (renormalised; else s = 1 and dp = h)

    Let q be the computed p over their exact sum; that is among the carried weights. With N = sum_j q_j |h_j| and n adds of U in any sum,
    s is off by n U, w by (n + 2) U; dp_i s by (2 n + 5) U (|h_i| + N), as a product and a difference cost U/2 each, a quotient 2 U;
    sum_j p_j dp_j, which is exactly 0 for exact dp, by (3 n + 6) U times sum_j q_j (|h_j| + N) = 2 N; and the last product and difference
    U more, p_i / s n U, which on dp_i make (3 n + 6) U (|h_i| + N). Hence with c = (3 n + 6) U, and c / (1 - c) for products of errors,

        |error of dl_i| <= c / (1 - c) * q_i (|h_i| + 3 N),     q_i = p_i for an expert that is not selected

    and so too without renormalising: there the computed p are q but for the n + 2 roundings of their own sum and quotient. For each entry
    at most n + 8 results may be flushed, 2 TINY at most each, times what multiplies it later: 1 + |h_i| + 3 N, over s, which has the
    largest p and is at least 1 / n.
    """
    n = logits.value.shape[1]
    probabilities = softmax(logits, 1)
    zeros = np.zeros_like(logits.value)
    h = d_weights.map(lambda t: _among_all(t, topk_ids, zeros))
    if norm_topk_prob:
        dl = _pairwise(weights, d_weights).map(lambda t: _among_all(t, topk_ids, zeros))
        q = _among_all(weights.magnitude, topk_ids, probabilities.magnitude)
    else:
        dl = _pairwise(probabilities, h)
        q = probabilities.magnitude
    c = (3 * n + 6) * U
    sizes = h.magnitude + 3 * (q * h.magnitude).sum(1, keepdims=True)
    flushed = np.where(sizes > 0, (n + 8) * 2 * TINY * (1 + sizes) * n, 0.0)
    return bounded(dl.value, dl.error + c / (1 - c) * q * sizes + flushed)


def _pairwise(q: Bounded, h: Bounded) -> Bounded:
    """Return sum_{j != i} q_i q_j (h_i - h_j) [T, n], with the largest of each term less its value as its error; no rounding."""

    def terms(q: Float64Array, difference: Float64Array) -> Float64Array:
        summed: Float64Array = (q[:, :, None] * q[:, None, :] * difference).sum(2)
        return summed

    difference = h.value[:, :, None] - h.value[:, None, :]
    errors = h.error[:, :, None] + h.error[:, None, :]
    errors = errors * ~np.eye(q.value.shape[1], dtype=bool)
    size = np.abs(difference)
    return Bounded(terms(q.value, difference), terms(q.magnitude, size + errors) - terms(q.value, size))


def _router_gap(logits: Bounded, topk: int) -> Float64Array:
    """Return, for each token, the least that a selected logit may be minus the most that another may be; infinite if all are selected.

    The topk are taken of float32 probabilities. The logarithm of one is off by ``exp_error`` and a quotient of 2 U, while the sum that
    divides them is the same number for all. Where the last selected probability, at least exp(-distance) / E, may be below 2**-126, all
    probabilities below that may tie: the result is minus infinity.
    """
    T, E = logits.value.shape
    if topk == E:
        return np.full(T, np.inf)
    distance = softmax_distance(logits, 1)
    off = logits.error + exp_error(distance) + 2 * U
    selected, others = np.split(np.argsort(-logits.value, 1), [topk], axis=1)
    least = np.take_along_axis(logits.value - off, selected, 1).min(1)
    most = np.take_along_axis(logits.value + off, others, 1).max(1)
    normal = np.take_along_axis(distance, selected, 1).max(1) + math.log(E) < 126 * math.log(2)
    return np.where(normal, least - most, -np.inf)
