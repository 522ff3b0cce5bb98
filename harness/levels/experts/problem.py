"""Problems at the ``experts`` level: hidden states, weights, and a given routing."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from moefuzz.harness.execution.arena import Arena
from moefuzz.harness.levels.layouts import laid_out
from moefuzz.harness.levels.routed.problem import chosen_experts, one_over_root
from moefuzz.harness.numerics import recipes

from .case import ExpertsCase
from .contract import CONTRACT

INPUTS = CONTRACT.inputs
_STREAMS = {"X": 0, "gate_up_proj": 1, "dY": 2, "down_proj": 3, "tokens": 4, "topk_weights": 5, "choices": 6}


@dataclass(frozen=True)
class ExpertsProblem:
    """The tensors of an ExpertsCase; floating ones in its dtype, stride gaps hold NaN."""

    case: ExpertsCase
    X: torch.Tensor  # [T, H]
    topk_ids: torch.Tensor  # [T, topk] int64, no expert twice in a row
    topk_weights: torch.Tensor  # [T, topk]
    gate_up_proj: torch.Tensor  # [E, 2I, H]
    down_proj: torch.Tensor  # [E, H, I]
    dY: torch.Tensor  # [T, H]

    def placed(self, device: torch.device) -> tuple[ExpertsProblem, Arena]:
        """Return the problem with its tensors in one arena on a device, strides kept, and the arena."""
        arena = Arena({name: getattr(self, name) for name in INPUTS}, device)
        moved: dict[str, Any] = arena.tensors
        return dataclasses.replace(self, **moved), arena


def build_experts(case: ExpertsCase) -> ExpertsProblem:
    """Build the tensors of a case on the CPU."""
    dtype = getattr(torch, case.dtype)
    T, E, H, intermediate = case.T, case.E, case.hidden_size, case.moe_intermediate_size
    weights = "normal" if case.data == "wide" else case.data  # a product of two wide factors overflows float16 in the second GEMM

    def draw(name: str, *shape: int, recipe: str = weights, scale: float = 1) -> torch.Tensor:
        return recipes.tensor(recipes.values(recipe, case.seed, _STREAMS[name], shape, fp16=True) * np.float32(scale), dtype)

    dY = draw("dY", 1, 1).expand(T, H) if case.dy_layout == "expanded" else draw("dY", T, H)
    return ExpertsProblem(
        case,
        X=laid_out(draw("X", T, H, recipe=case.data), case.x_layout),
        topk_ids=torch.from_numpy(_choices(case)),
        topk_weights=recipes.tensor(recipes.routing_weights(case.data, case.seed, _STREAMS["topk_weights"], (T, case.topk)), dtype),
        gate_up_proj=laid_out(draw("gate_up_proj", E, 2 * intermediate, H, scale=float(one_over_root(H))), case.w_layout),
        down_proj=laid_out(draw("down_proj", E, H, intermediate, scale=float(one_over_root(intermediate))), case.w_layout),
        dY=laid_out(dY, case.dy_layout),
    )


def _choices(case: ExpertsCase) -> np.ndarray:
    """Return [T, topk] int64: the experts of each token in ascending order, rotated by a random number of places under "shuffled"."""
    chosen = chosen_experts(case, _STREAMS["tokens"])
    ids = np.nonzero(chosen)[1].reshape(case.T, case.topk)
    turned = recipes.raw_bits(case.seed, _STREAMS["choices"], (case.T, 1)) % np.uint64(case.topk) if case.order == "shuffled" else 0
    places = (np.arange(case.topk) + turned).astype(np.int64) % case.topk
    return np.take_along_axis(ids, np.broadcast_to(places, ids.shape), 1)
