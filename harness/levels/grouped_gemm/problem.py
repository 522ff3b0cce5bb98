"""The problem of a case: its tensors. Building it gives the same bits on every machine."""

from __future__ import annotations

import dataclasses
import gc
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from moefuzz.harness.base.case import FAR_AXES
from moefuzz.harness.execution.arena import Arena
from moefuzz.harness.levels.layouts import far_apart, laid_out
from moefuzz.harness.numerics import recipes

from .case import GroupedGemmCase
from .contract import CONTRACT

_STREAMS = {"X": 0, "W": 1, "dY": 2, "topk_weights": 3, "gather_indices": 4}


@dataclass(frozen=True)
class GroupedGemmProblem:
    """The tensors of a GroupedGemmCase. Stride gaps and rows beyond the sum of m_sizes hold NaN.

    Only ``placed`` makes the far layouts: their gaps are too wide to be copied, and the reference does not need them.
    """

    case: GroupedGemmCase
    X: torch.Tensor  # [M, K], or [T, K] where X holds tokens
    W: torch.Tensor  # [E, N, K]
    m_sizes: torch.Tensor  # [E] int32
    gather_indices: torch.Tensor | None  # [M] int32, -1 beyond the sum of m_sizes
    topk_weights: torch.Tensor | None  # [T, topk], the dtype of X
    dY: torch.Tensor  # [M, N]

    def placed(self, device: torch.device) -> tuple[GroupedGemmProblem, Arena]:
        """Return the problem with its tensors in one arena on a device, and the arena. Strides are kept; far layouts lie outside it."""
        case = self.case
        layouts = {"X": case.x_layout, "W": case.w_layout, "dY": case.dy_layout}
        far = {name: FAR_AXES[layout] for name, layout in layouts.items() if layout in FAR_AXES}
        tensors = {name: getattr(self, name) for name in CONTRACT.inputs if getattr(self, name, None) is not None}
        arena = Arena({name: tensor for name, tensor in tensors.items() if name not in far}, device)
        if far and device.type == "cuda":
            gc.collect()  # the traceback of a failure holds the inputs of its case, in a reference cycle
            torch.cuda.empty_cache()  # free the last far inputs: they fit no other shape, and other processes may need the memory
        apart = {name: far_apart(tensors[name].to(device), axis) for name, axis in far.items()}
        moved: dict[str, Any] = arena.tensors | apart
        return dataclasses.replace(self, **moved), arena


def build_grouped_gemm(case: GroupedGemmCase) -> GroupedGemmProblem:
    """Build the tensors of a case on the CPU."""
    dtype = getattr(torch, case.dtype)
    total = sum(case.m_sizes)

    def draw(name: str, shape: tuple[int, ...]) -> torch.Tensor:
        numbers = recipes.values(case.data, case.seed, _STREAMS[name], shape, fp16=case.dtype == "float16")
        return recipes.tensor(numbers, dtype)

    slots = _slots(case)
    X = draw("X", (case.M // case.topk if case.tokens_in else case.M, case.K))
    dY = draw("dY", (1, 1)).expand(case.M, case.N) if case.dy_layout == "expanded" else draw("dY", (case.M, case.N))
    unused = torch.ones(case.M, dtype=torch.bool)
    unused[slots[:total]] = False
    if not case.tokens_in:
        X[unused if case.permute == "x" else slice(total, None)] = torch.nan
    if case.dy_layout != "expanded":
        dY[unused if case.permute == "y" else slice(total, None)] = torch.nan
    permuted = case.permute != "none" or case.fuse_mul_post
    return GroupedGemmProblem(
        case,
        X=laid_out(X, case.x_layout),
        W=laid_out(draw("W", (case.E, case.N, case.K)), case.w_layout),
        m_sizes=torch.tensor(case.m_sizes, dtype=torch.int32),
        gather_indices=torch.from_numpy(slots.astype(np.int32)) if permuted else None,
        topk_weights=_weights(case, dtype) if case.fuse_mul_post else None,
        dY=laid_out(dY, case.dy_layout),
    )


def _slots(case: GroupedGemmCase) -> np.ndarray:
    """Return gather_indices: the flat slot that each sorted row came from; -1 for rows beyond the sum of m_sizes."""
    order = recipes.permutation(case.seed, _STREAMS["gather_indices"], case.M) if case.order == "shuffled" else np.arange(case.M)
    if case.order == "reversed":
        order = order[::-1].copy()
    order[sum(case.m_sizes) :] = -1
    return order


def _weights(case: GroupedGemmCase, dtype: torch.dtype) -> torch.Tensor:
    return recipes.tensor(recipes.routing_weights(case.data, case.seed, _STREAMS["topk_weights"], (case.M // case.topk, case.topk)), dtype)
