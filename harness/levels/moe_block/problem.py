"""Problems at the ``moe_block`` level: hidden states and weights with which a real router gives the case's expert loads, without ties.

Column e of the hidden states, e < E, holds the score of a token for expert e, and the router's weight for expert e is 1 there. The other
columns hold the case's data, and the router has small weights there too, so that every column contributes to logits and gradients. All of
them together move a logit by less than ``NUDGE``, against a gap of 2 between chosen and other experts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from moefuzz.harness.levels.routed.problem import chosen_experts, one_over_root
from moefuzz.harness.numerics import recipes

from .case import MoeBlockCase

NUDGE = 0.25

_STREAMS = {"X": 0, "gate_up_proj": 1, "dY": 2, "down_proj": 3, "tokens": 4, "wants": 5, "gate": 6}


@dataclass(frozen=True)
class MoeBlockProblem:
    """The tensors of a MoeBlockCase, all in its dtype, on the CPU."""

    case: MoeBlockCase
    X: torch.Tensor  # [T, H]
    gate: torch.Tensor  # [E, H]
    gate_up_proj: torch.Tensor  # [E, 2I, H]
    down_proj: torch.Tensor  # [E, H, I]
    dY: torch.Tensor  # [T, H]
    chosen: torch.Tensor  # [T, E] bool: the routing that the case guarantees


def build_moe_block(case: MoeBlockCase) -> MoeBlockProblem:
    """Build the tensors of a case on the CPU."""
    dtype = getattr(torch, case.dtype)
    T, E, H, intermediate = case.T, case.E, case.hidden_size, case.moe_intermediate_size
    weights = "normal" if case.data == "wide" else case.data  # a product of two wide factors overflows float16 in the second GEMM

    def draw(name: str, *shape: int, recipe: str = weights) -> np.ndarray:
        return recipes.values(recipe, case.seed, _STREAMS[name], shape, fp16=True)

    chosen = chosen_experts(case, _STREAMS["tokens"])
    X = draw("X", T, H, recipe=case.data)
    X[:, :E] = _wants(case, chosen)
    gate = np.zeros((E, H), np.float32)
    gate[:, :E] = np.eye(E)
    gate[:, E:] = _nudging(draw("gate", E, H - E, recipe="normal"), X[:, E:])
    tensors = {
        "X": X,
        "gate": gate,
        "gate_up_proj": draw("gate_up_proj", E, 2 * intermediate, H) * one_over_root(H),
        "down_proj": draw("down_proj", E, H, intermediate) * one_over_root(intermediate),
        "dY": draw("dY", T, H),
    }
    made = {name: recipes.tensor(numbers, dtype) for name, numbers in tensors.items()}
    return MoeBlockProblem(case, **made, chosen=torch.from_numpy(chosen))


def _wants(case: MoeBlockCase, chosen: np.ndarray) -> np.ndarray:
    """Return the scores: 1 plus multiples of 3/8, to 3.625, for chosen experts, the negative for others; all 5 lower for negative logits.

    All are exact in bfloat16, at most 8.625 from zero, and 2 apart at the boundary; chosen ones may tie with each other.
    """
    steps = (recipes.raw_bits(case.seed, _STREAMS["wants"], chosen.shape) % 8).astype(np.float32)
    size = 1 + steps * np.float32(0.375)
    return np.where(chosen, size, -size) - np.float32(5 if case.logits == "negative" else 0)


def _nudging(gate: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Return ``gate``, scaled by a power of two so that it moves no logit by more than NUDGE.

    columns * max|gate| * max|X| is an exact upper bound.
    """
    if not gate.size or not X.size:
        return gate
    largest = gate.shape[1] * float(np.abs(gate).max()) * float(np.abs(X).max())
    return gate * np.float32(NUDGE * 2.0 ** -math.ceil(math.log2(largest))) if largest else gate
