"""Changes of a grouped GEMM's problem that keep it valid. ``relations.py`` builds its follow-up calls from them."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from moefuzz.harness.base.case import round_up
from moefuzz.harness.levels.edits import laid_out_like
from moefuzz.harness.targets import Target

from .problem import GroupedGemmProblem


def segments(problem: GroupedGemmProblem) -> list[torch.Tensor]:
    """Return the sorted rows of each expert."""
    ends = torch.tensor(problem.case.m_sizes).cumsum(0).tolist()
    return [torch.arange(end - size, end) for size, end in zip(problem.case.m_sizes, ends, strict=True)]


def tail(problem: GroupedGemmProblem) -> torch.Tensor:
    """Return the sorted rows that no expert owns."""
    return torch.arange(sum(problem.case.m_sizes), problem.case.M)


def x_rows(problem: GroupedGemmProblem, rows: torch.Tensor) -> torch.Tensor:
    """Return the rows of X, and of dX, that belong to sorted rows."""
    if problem.case.permute != "x" or problem.gather_indices is None:
        return rows
    slots = problem.gather_indices.long()[rows]
    return slots // problem.case.topk if problem.case.tokens_in else slots


def y_rows(problem: GroupedGemmProblem, rows: torch.Tensor) -> torch.Tensor:
    """Return the rows of Y, and of dY, that belong to sorted rows."""
    return rows if problem.case.permute != "y" or problem.gather_indices is None else problem.gather_indices.long()[rows]


def resized(problem: GroupedGemmProblem, m_sizes: tuple[int, ...], **tensors: torch.Tensor) -> GroupedGemmProblem:
    """Return the problem with other loads, and with the tensors that fit them."""
    sizes = torch.tensor(m_sizes, dtype=torch.int32)
    owned = sum(m_sizes) + problem.case.tail_rows
    case = dataclasses.replace(problem.case, m_sizes=m_sizes)
    assert tensors.get("dY", problem.dY).shape[0] == owned, "the rows of dY are those of the loads"
    return dataclasses.replace(problem, case=case, m_sizes=sizes, **tensors)


def reordered(problem: GroupedGemmProblem, rows: torch.Tensor, m_sizes: tuple[int, ...], W: torch.Tensor) -> GroupedGemmProblem:
    """Return the problem with its sorted rows in another order; tensors in token or slot order stay as they are."""
    permute, gather_indices = problem.case.permute, problem.gather_indices
    return resized(
        problem,
        m_sizes,
        W=W,
        X=problem.X if permute == "x" else laid_out_like(problem.X, problem.X[rows]),
        dY=problem.dY if permute == "y" else laid_out_like(problem.dY, problem.dY[rows]),
        **({} if gather_indices is None else {"gather_indices": gather_indices[rows]}),
    )


def padded(tensor: torch.Tensor, columns: int = 0, rows: int = 0) -> torch.Tensor:
    """Return the tensor with zeros beyond the ends of its last two axes."""
    return torch.nn.functional.pad(tensor, (0, columns, 0, rows))


def further(problem: GroupedGemmProblem, target: Target, axis: str) -> int:
    """Return the padding of N or K: past a tile edge, or by a tile for an aligned config; rounded up to the target's multiple."""
    config = problem.case.config
    if config is not None and config.aligned:
        step = int(getattr(config, f"block_{axis.lower()}"))
    else:
        step = 24 if config is not None and config.tma else 17
    return round_up(step, dict(zip("NK", target.multiples(problem.case.dtype), strict=True))[axis])


def rounded_to(problem: GroupedGemmProblem, dtype: torch.dtype) -> GroupedGemmProblem:
    """Return the problem with its numbers rounded to a narrower dtype, stored in their own dtype."""
    tensors = {name: getattr(problem, name) for name in ("X", "W", "dY", "topk_weights")}
    rounded: dict[str, Any] = {name: laid_out_like(t, t.to(dtype).to(t.dtype)) for name, t in tensors.items() if t is not None}
    return dataclasses.replace(problem, **rounded)
