"""Bounds on what correct experts of an MoE block compute from given inputs: each intermediate and gradient with its carried error.

With sorted row r from flat slot g = t * topk + j, and w[g] its weight:

    first = X[g // topk] gate_up^T;   inter = act(first's gate half) * up half;   second = inter down^T;   output[t] = sum_j w[t, j] second

A tensor of ``ExpertsBounds`` is what a float32 computation may hold *before* its own last store, so that ``violations(got, tensor, dtype)``
rounds once. Later stages start from the stored tensor. These stores may round to the dtype, and need not:

    forward    first GEMM, act(gate), act * up, second GEMM, weighted rows, each of the topk - 1 adds of the output
    backward   the elements of dY * second and their sum over H (the weights' gradient); dY * w, inter's gradient, act's, up's and gate's;
               dX of the gate half, of the up half and their sum (three stores in transformers 4.57, the last alone in 5.x), each of the
               topk - 1 adds of X's gradient

Each contraction accumulates in float32 and in any order; the activation is computed in float32. The weight may be multiplied at either of
two places: w second, and backward (w dY) W2, (w dY)^T inter and dY * second summed over H; or, as fused kernels do, (w inter) W2^T, and
backward w (dY W2), dY^T (w inter) and (dY W2) * inter summed over I. Both are right, and the larger error of the two counts. With the
first alone, a backward pass in float32 that multiplies the weight last would exceed its bounds in bfloat16
(``tests/selftest/levels/test_experts.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from moefuzz.harness.numerics.bounds import Float64Array
from moefuzz.harness.numerics.error_analysis import (
    Bounded,
    cat,
    contract,
    either,
    exact,
    mul,
    relu,
    relu_grad,
    silu,
    silu_grad,
    stored,
    sum_stored,
)
from moefuzz.harness.numerics.segments import Int64Array, segment_matmul, segment_outer

ACTIVATIONS = {"silu": (silu, silu_grad), "relu": (relu, relu_grad)}


@dataclass(frozen=True)
class ExpertsBounds:
    """The carried tensors of one forward and backward pass; M = T * topk."""

    first_gemm: Bounded  # [M, 2I], sorted by expert
    intermediate: Bounded  # [M, I], sorted by expert
    second_gemm: Bounded  # [M, H], sorted by expert
    hidden_states_unpermute: Bounded  # [M, H], in flat-slot order
    output: Bounded  # [T, H]
    X_grads: Bounded  # [T, topk, H], the gradient of each choice: stored, and not yet added up
    X_grad: Bounded  # [T, H]
    topk_weights_grad: Bounded  # [T, topk]
    gate_proj_grad: Bounded  # [E, I, H]
    up_proj_grad: Bounded  # [E, I, H]
    down_proj_grad: Bounded  # [E, H, I]
    m_sizes: Int64Array  # [E]
    gather_indices: Int64Array  # [M]

    @property
    def gate_up_proj_grad(self) -> Bounded:
        """[E, 2I, H]"""
        return cat((self.gate_proj_grad, self.up_proj_grad), 1)


@np.errstate(all="ignore")  # a number that overflows, or that is unbounded, has an infinite error
def experts_bounds(
    X: Tensor,  # [T, H]
    topk_ids: Int64Array,  # [T, topk]
    topk_weights: Bounded,  # [T, topk], as they are stored
    gate_up_proj: Tensor,  # [E, 2I, H]
    down_proj: Tensor,  # [E, H, I]
    dY: Tensor,  # [T, H]
    *,
    act: str,
    dtype: torch.dtype,
) -> ExpertsBounds:
    """Carry the errors through the experts, for tensors already in ``dtype``; return the bounds. ``act``: "silu" or "relu"."""
    E, H, intermediate_size = down_proj.shape
    topk = topk_ids.shape[1]
    x, w1, w2, dy = (exact(tensor) for tensor in (X, gate_up_proj, down_proj, dY))
    activation, activation_grad = ACTIVATIONS[act]
    m_sizes, slots = np.bincount(topk_ids.ravel(), minlength=E), np.argsort(topk_ids.ravel(), kind="stable")
    tokens, slot_of = slots // topk, np.argsort(slots)
    rows = m_sizes.astype(np.float64)[:, None, None]
    w = topk_weights.map(lambda t: t.reshape(-1, 1)[slots])
    x_rows, dy_rows = x[tokens], dy[tokens]

    def experts(a: Bounded, b: Bounded, depth: int) -> Bounded:
        return contract(a, b, lambda p, q: segment_matmul(p, q, m_sizes), depth)

    def weight_gradient(a: Bounded, b: Bounded) -> Bounded:
        return contract(a, b, lambda p, q: segment_outer(p, q, m_sizes), rows)

    def by_token(a: Bounded) -> Bounded:
        return a.map(lambda t: t[slot_of].reshape(-1, topk, t.shape[1]))

    first_gemm = experts(x_rows, w1.map(_transposed), H)
    first = stored(first_gemm, dtype)
    gate_half, up_half = first[:, :intermediate_size], first[:, intermediate_size:]
    acted = stored(activation(gate_half), dtype)
    intermediate = mul(acted, up_half)
    inter = stored(intermediate, dtype)
    w2t = w2.map(_transposed)
    second_gemm = experts(inter, w2t, intermediate_size)
    second = stored(second_gemm, dtype)

    def summed(a: Bounded, b: Bounded) -> Bounded:
        products = stored(mul(a, b), dtype)
        depth = products.value.shape[1]
        return contract(products, exact(torch.ones(depth, 1)), np.matmul, depth)

    weighted = stored(mul(inter, w), dtype)
    d_second = stored(mul(dy_rows, w), dtype)
    unweighted = stored(experts(dy_rows, w2, H), dtype)
    d_inter = stored(either(experts(d_second, w2, H), mul(unweighted, w)), dtype)
    d_up = stored(mul(d_inter, acted), dtype)
    d_gate = stored(mul(stored(mul(d_inter, up_half), dtype), activation_grad(gate_half)), dtype)
    X_grads = by_token(_rows_gradient(d_gate, d_up, w1, m_sizes, dtype))
    return ExpertsBounds(
        first_gemm=first_gemm,
        intermediate=intermediate,
        second_gemm=second_gemm,
        hidden_states_unpermute=second_gemm[slot_of],
        output=sum_stored(by_token(stored(either(mul(second, w), experts(weighted, w2t, intermediate_size)), dtype)), 1, dtype, topk),
        X_grads=X_grads,
        X_grad=sum_stored(X_grads, 1, dtype, topk),
        topk_weights_grad=either(summed(dy_rows, second), summed(unweighted, inter)).map(lambda t: t[slot_of].reshape(-1, topk)),
        gate_proj_grad=weight_gradient(d_gate, x_rows),
        up_proj_grad=weight_gradient(d_up, x_rows),
        down_proj_grad=either(weight_gradient(d_second, inter), weight_gradient(dy_rows, weighted)),
        m_sizes=m_sizes,
        gather_indices=slots,
    )


def _transposed(matrices: Float64Array) -> Float64Array:
    return matrices.swapaxes(1, 2)


def _rows_gradient(d_gate: Bounded, d_up: Bounded, w1: Bounded, m_sizes: Int64Array, dtype: torch.dtype) -> Bounded:
    """Return d_gate gate_proj + d_up up_proj, stored: one contraction over 2I, or two that are stored and then added. Both are correct."""
    size = d_gate.value.shape[1]

    def product(a: Bounded, b: Bounded) -> Bounded:
        return contract(a, b, lambda p, q: segment_matmul(p, q, m_sizes), a.value.shape[1])

    one = product(cat((d_gate, d_up), 1), w1)
    gate_half, up_half = product(d_gate, w1[:, :size]), product(d_up, w1[:, size:])
    two = sum_stored(cat([stored(half, dtype)[None] for half in (gate_half, up_half)], 0), 0, dtype, 2)
    return stored(either(one, two), dtype)
