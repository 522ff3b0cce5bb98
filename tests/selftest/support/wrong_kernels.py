"""Kernels of others, each wrong in one way; nothing of moefuzz is imported, so that a script can import them without it."""

from __future__ import annotations

import ctypes
import itertools

import torch

calls = itertools.count()


def loop(X, W, m_sizes):
    out, start = X.new_empty(len(X), W.shape[1]), 0
    for e, rows in enumerate(m_sizes.tolist()):
        out[start : start + rows] = X[start : start + rows] @ W[e].T
        start += rows
    return out


def leaves_an_expert_unwritten(X, W, m_sizes):
    return loop(X, W, torch.cat([m_sizes[:1], m_sizes[1:] * 0]))


def stores_behind_the_output(X, W, m_sizes):
    out = loop(X, W, m_sizes)
    ctypes.memset(out.data_ptr() + out.numel() * out.element_size(), 1, 4)
    return out


def changes_an_input(X, W, m_sizes):
    out = loop(X, W, m_sizes)
    X.data[0] = 7
    return out


def loses_a_gradient(X, W, m_sizes):
    return loop(X.detach(), W, m_sizes)


def gives_another_dtype(X, W, m_sizes):
    return loop(X, W, m_sizes).double()


def counts_its_calls(X, W, m_sizes):
    more = loop(X.detach(), W, m_sizes) - loop(X.detach(), W.detach(), m_sizes)
    return loop(X, W, m_sizes) + next(calls) % 2 * more


def is_wrong_from_its_third_call_on(X, W, m_sizes):
    more = loop(X.detach(), W, m_sizes) - loop(X.detach(), W.detach(), m_sizes)
    return loop(X, W, m_sizes) + (next(calls) >= 2) * more


def adds_nothing_times_all_weights(X, W, m_sizes):
    return loop(X, W, m_sizes) + 0 * W.sum()


def forgets_the_third_expert(X, W, m_sizes):
    return loop(X, torch.cat([W[:2], 0 * W[2:]]), m_sizes)


def raises_for_two_experts(X, W, m_sizes):
    if len(W) == 2:
        raise ValueError('two experts, """, and \\x')
    return loop(X, W, m_sizes)


def in_a_second_backward(X, W, m_sizes, fails):
    """What ``fails`` does happens where a result is differentiated a second time."""
    out, passes = loop(X, W, m_sizes), itertools.count()
    out.register_hook(lambda _: fails() if next(passes) else None)
    return out


def raises_in_a_second_backward(X, W, m_sizes):
    def fails():
        raise RuntimeError("again")

    return in_a_second_backward(X, W, m_sizes, fails)


def changes_an_input_in_a_second_backward(X, W, m_sizes):
    def fails():
        X.data[0] = 7

    return in_a_second_backward(X, W, m_sizes, fails)


def experts_loop(hidden_states, top_k_index, top_k_weights, gate_up_proj, down_proj, act, factors):
    out = torch.zeros_like(hidden_states, memory_format=torch.contiguous_format)
    for e in range(len(down_proj)):
        token, choice = (top_k_index == e).nonzero(as_tuple=True)
        gate, up = (hidden_states[token] @ gate_up_proj[e].T).chunk(2, dim=1)
        row = (act(gate) * up) @ down_proj[e].T * top_k_weights[token, choice, None]
        out = out.index_add(0, token, row * factors.get(e, 1))
    return out


def doubles_weight_gradients_of_three_choices(hidden_states, top_k_index, top_k_weights, gate_up_proj, down_proj, act):
    weights = top_k_weights * 1
    if weights.requires_grad and weights.shape[1] > 2:
        weights.register_hook(lambda gradient: 2 * gradient)
    return experts_loop(hidden_states, top_k_index, weights, gate_up_proj, down_proj, act, {})


def doubles_expert_1(hidden_states, top_k_index, top_k_weights, gate_up_proj, down_proj, act):
    return experts_loop(hidden_states, top_k_index, top_k_weights, gate_up_proj, down_proj, act, {1: 2})


def mixes_foreign_experts(hidden_states, top_k_index, top_k_weights, gate_up_proj, down_proj, act):
    return experts_loop(hidden_states, top_k_index, top_k_weights, gate_up_proj, down_proj, act, {}) + 0 * down_proj.sum()


class Doubled(torch.nn.Module):
    """The block with twice its gradients, or twice its output."""

    def __init__(self, block: torch.nn.Module, backward: bool) -> None:
        super().__init__()
        self.block, self.backward_too = block, backward

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.block(hidden_states)
        return out * 2 - out.detach() * self.backward_too


def doubles_the_gradients(block):
    return Doubled(block, True)


def doubles_the_output(block):
    return Doubled(block, False)
