"""Which tokens choose which experts, and weights that keep the size of a sum."""

from __future__ import annotations

import math

import numpy as np

from moefuzz.harness.numerics import recipes

from .case import RoutedCase


def chosen_experts(case: RoutedCase, stream: int) -> np.ndarray:
    """[T, E] bool with ``loads[e]`` tokens for expert e and topk experts for each token.

    The experts' loads are laid end to end and wound round the tokens: no expert is longer than a turn, so none meets a token twice, and
    topk turns meet each token topk times.
    """
    chosen = np.zeros((case.T, case.E), bool)
    expert = np.repeat(np.arange(case.E), case.loads)
    if len(expert):
        tokens = recipes.permutation(case.seed, stream, case.T) if case.order == "shuffled" else np.arange(case.T)
        chosen[tokens[np.arange(len(expert)) % case.T], expert] = True
    return chosen


def one_over_root(n: int) -> np.float32:
    """The power of two next below 1 / sqrt(n): sums of n products keep the size of one."""
    return np.float32(2.0 ** -math.ceil(math.log2(n) / 2))
