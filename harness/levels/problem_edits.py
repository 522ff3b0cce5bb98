"""Changes of a grouped GEMM's problem that leave it a valid one. The follow-up calls of ``relations.py`` are made of these."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import torch

from moefuzz.harness.execution.memory import extent
from moefuzz.harness.numerics.recipes import permutation
from moefuzz.harness.targets import Target

from .cases import ExpertsCase, GroupedGemmCase, MoeBlockCase, round_up
from .experts.problem import ExpertsProblem
from .grouped_gemm.problem import GroupedGemmProblem
from .moe_block.problem import MoeBlockProblem

AnyCase = TypeVar("AnyCase", GroupedGemmCase, ExpertsCase, MoeBlockCase)

_STREAM = 8  # of the bits that a permutation is drawn from


def drawn_permutation(problem: GroupedGemmProblem | ExpertsProblem | MoeBlockProblem, n: int) -> torch.Tensor:
    """A permutation of range(n) that the case's seed decides."""
    return torch.from_numpy(permutation(problem.case.seed, _STREAM, n))


def foreign_expert(problem: ExpertsProblem | MoeBlockProblem) -> torch.Tensor:
    """[1]: an expert that not every token chose, if there is one."""
    case = problem.case
    order = drawn_permutation(problem, case.E).tolist()
    return torch.tensor([next((e for e in order if case.loads[e] < case.T), order[0])])


def foreign_token(problem: ExpertsProblem | MoeBlockProblem) -> torch.Tensor:
    """[1]: the first token, with which a careless kernel pads, the last one, or any."""
    T = problem.case.T
    return torch.tensor([0, T - 1, int(drawn_permutation(problem, T)[0])][problem.case.seed % 3]).reshape(1)


def segments(problem: GroupedGemmProblem) -> list[torch.Tensor]:
    """The sorted rows of each expert."""
    ends = torch.tensor(problem.case.m_sizes).cumsum(0).tolist()
    return [torch.arange(end - size, end) for size, end in zip(problem.case.m_sizes, ends, strict=True)]


def tail(problem: GroupedGemmProblem) -> torch.Tensor:
    """The sorted rows that no expert owns."""
    return torch.arange(sum(problem.case.m_sizes), problem.case.M)


def x_rows(problem: GroupedGemmProblem, rows: torch.Tensor) -> torch.Tensor:
    """Where X, and dX, hold what belongs to sorted rows."""
    if problem.case.permute != "x" or problem.gather_indices is None:
        return rows
    slots = problem.gather_indices.long()[rows]
    return slots // problem.case.topk if problem.case.tokens_in else slots


def y_rows(problem: GroupedGemmProblem, rows: torch.Tensor) -> torch.Tensor:
    """Where Y, and dY, hold sorted rows."""
    return rows if problem.case.permute != "y" or problem.gather_indices is None else problem.gather_indices.long()[rows]


def others(n: int, without: torch.Tensor) -> torch.Tensor:
    """range(n) without some."""
    return torch.ones(n, dtype=torch.bool).index_fill_(0, without, False).nonzero().flatten()


def resized(problem: GroupedGemmProblem, m_sizes: tuple[int, ...], **tensors: torch.Tensor) -> GroupedGemmProblem:
    """The problem with other loads, and the tensors that go with them."""
    sizes = torch.tensor(m_sizes, dtype=torch.int32)
    owned = sum(m_sizes) + problem.case.tail_rows
    case = dataclasses.replace(problem.case, m_sizes=m_sizes)
    assert tensors.get("dY", problem.dY).shape[0] == owned, "the rows of dY are those of the loads"
    return dataclasses.replace(problem, case=case, m_sizes=sizes, **tensors)


def reordered(problem: GroupedGemmProblem, rows: torch.Tensor, m_sizes: tuple[int, ...], W: torch.Tensor) -> GroupedGemmProblem:
    """The problem with its sorted rows in another order; what lies in token or slot order stays where it is."""
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
    """The tensor with zeros beyond its last two axes."""
    return torch.nn.functional.pad(tensor, (0, columns, 0, rows))


def further(problem: GroupedGemmProblem, target: Target, axis: str) -> int:
    """By how much N or K is padded: over a tile edge, or by a tile where the config promises alignment; as far as the target wants it."""
    config = problem.case.config
    if config is not None and config.aligned:
        step = int(getattr(config, f"block_{axis.lower()}"))
    else:
        step = 24 if config is not None and config.tma else 17
    return round_up(step, dict(zip("NK", target.multiples(problem.case.dtype), strict=True))[axis])


def laid_out_like(model: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Values of the model's shape in the model's strides, its gaps NaN; expanded ones are given memory of their own."""
    if 0 in model.stride():
        return values.contiguous()
    return torch.full((extent(model),), torch.nan, dtype=model.dtype).as_strided(model.shape, model.stride()).copy_(values)


def rounded_to(problem: GroupedGemmProblem, dtype: torch.dtype) -> GroupedGemmProblem:
    """The problem with numbers that a narrower dtype has too, in the dtype that they are in."""
    tensors = {name: getattr(problem, name) for name in ("X", "W", "dY", "topk_weights")}
    rounded: dict[str, Any] = {name: laid_out_like(t, t.to(dtype).to(t.dtype)) for name, t in tensors.items() if t is not None}
    return dataclasses.replace(problem, **rounded)


def with_fields(case: AnyCase, **fields: Any) -> AnyCase:
    """The valid case nearest to this one with other fields, and no relation."""
    own = {field.name: getattr(case, field.name) for field in dataclasses.fields(case)}
    return type(case).fitted(**{**own, "relation": "", **fields})
