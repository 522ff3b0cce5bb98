"""The experts that each token chooses, and a scale of weights that keeps sums from growing."""

from __future__ import annotations

import math

import numpy as np

from moefuzz.harness.numerics import recipes

from .case import RoutedCase


def chosen_experts(case: RoutedCase, stream: int) -> np.ndarray:
    """Return [T, E] bool with ``loads[e]`` tokens for expert e and topk experts for each token.

    The loads of the experts are laid end to end and wrapped around the tokens. No load is longer than T, so no expert gets a token twice.
    The loads wrap around topk times, so each token gets topk experts.
    """
    chosen = np.zeros((case.T, case.E), bool)
    expert = np.repeat(np.arange(case.E), case.loads)
    if len(expert):
        tokens = recipes.permutation(case.seed, stream, case.T) if case.order == "shuffled" else np.arange(case.T)
        chosen[tokens[np.arange(len(expert)) % case.T], expert] = True
    return chosen


def one_over_root(n: int) -> np.float32:
    """Return the largest power of two that is at most 1 / sqrt(n): a sum of n products keeps the size of one product."""
    return np.float32(2.0 ** -math.ceil(math.log2(n) / 2))
