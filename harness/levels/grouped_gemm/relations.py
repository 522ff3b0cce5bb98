"""Relations at the ``grouped_gemm`` level. A docstring states the relation in one sentence; ``verdict/follow_ups.py`` checks it.

Linearity in X, W and dY and <dY, Y> = <dW, W> = <dX, X> need no second call: on data on which they hold bit for bit, all three tensors are
compared with the reference bit for bit, and tests check them on the reference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch

from moefuzz.harness.levels.edits import drawn_permutation, laid_out_like, others, with_fields
from moefuzz.harness.levels.level import FollowUp, Part, at, by_name, on_another_stream, whole
from moefuzz.harness.targets import Target
from moefuzz.kernels.kernel_config import KernelConfig

from .call_variants import replayed, twice_on_one_graph, under_autocast, with_another_poison
from .case import RELATIONS
from .edits import further, padded, reordered, resized, rounded_to, segments, tail, x_rows, y_rows
from .problem import GroupedGemmProblem, build_grouped_gemm
from .run import run_grouped_gemm

FollowUps = Iterator[FollowUp[GroupedGemmProblem]]
_OTHER_TILES = (KernelConfig(block_m=64, block_n=16, block_k=32), KernelConfig(block_m=16, block_n=32, block_k=64))


_EVERYTHING = dict.fromkeys(("Y", "dX", "dW"), (whole, whole))


def repeated(problem: GroupedGemmProblem, _: Target) -> FollowUps:
    """The same call gives the same bits, whatever the memory held."""
    for run in (None, with_another_poison):
        yield FollowUp(problem, _EVERYTHING, bitwise=True, check_bounds=False, nondeterminism=True, run=run)


def other_shapes_between(problem: GroupedGemmProblem, target: Target) -> FollowUps:
    """Shapes A, B, A in one process: the second A gives the bits of the first."""
    case, (n, k) = problem.case, target.multiples(problem.case.dtype)
    sizes = (*case.m_sizes[::-1], case.topk * target.m_multiple)
    yield FollowUp(build_grouped_gemm(with_fields(case, m_sizes=sizes, N=case.N + n, K=case.K + 7 * k)))
    yield FollowUp(problem, _EVERYTHING, bitwise=True, check_bounds=False, nondeterminism=True)


def experts_permuted(problem: GroupedGemmProblem, _: Target) -> FollowUps:
    """Permuting the experts, weights and loads, permutes the blocks."""
    p = drawn_permutation(problem, problem.case.E)
    rows = torch.cat([*(segments(problem)[e] for e in p.tolist()), tail(problem)])
    after = reordered(problem, rows, tuple(problem.case.m_sizes[e] for e in p.tolist()), laid_out_like(problem.W, problem.W[p]))
    yield FollowUp(after, _rows_moved(problem, rows) | {"dW": (at(p), whole)})


def rows_permuted(problem: GroupedGemmProblem, _: Target) -> FollowUps:
    """Permuting the tokens of an expert permutes its rows."""
    rows = torch.cat([*(own[drawn_permutation(problem, len(own))] for own in segments(problem)), tail(problem)])
    after = reordered(problem, rows, problem.case.m_sizes, problem.W)
    yield FollowUp(after, _rows_moved(problem, rows) | {"dW": (whole, whole)})


def _rows_moved(problem: GroupedGemmProblem, rows: torch.Tensor) -> dict[str, tuple[Part, Part]]:
    permute = problem.case.permute
    return {"Y": (whole if permute == "y" else at(rows), whole), "dX": (whole if permute == "x" else at(rows), whole)}


def empty_expert_inserted(problem: GroupedGemmProblem, _: Target) -> FollowUps:
    """An empty expert anywhere, its weights NaN, changes nothing else, and its dW is zero."""
    sizes, W = problem.case.m_sizes, problem.W
    e = int(drawn_permutation(problem, len(sizes) + 1)[0])
    with_empty = torch.cat([W[:e], torch.full_like(W[:1], torch.nan), W[e:]])
    before = others(len(sizes) + 1, torch.tensor([e]))
    yield FollowUp(resized(problem, (*sizes[:e], 0, *sizes[e:]), W=with_empty), _EVERYTHING | {"dW": (whole, at(before))})


def expert_split(problem: GroupedGemmProblem, _: Target) -> FollowUps:
    """Splitting an expert into two with the same weight changes no row."""
    sizes = problem.case.m_sizes
    e = max(range(len(sizes)), key=sizes.__getitem__)
    twice = torch.arange(len(sizes)).repeat_interleave(torch.tensor([1 + (i == e) for i in range(len(sizes))]))
    after = resized(problem, (*sizes[:e], sizes[e] // 2, sizes[e] - sizes[e] // 2, *sizes[e + 1 :]), W=problem.W[twice])
    yield FollowUp(after, {"Y": (whole, whole), "dX": (whole, whole)})


def rows_in_two_calls(problem: GroupedGemmProblem, _: Target) -> FollowUps:
    """A batch run in two calls gives the same rows."""
    if problem.gather_indices is not None:
        return
    for first in (True, False):
        parts = [own[: len(own) // 2] if first else own[len(own) // 2 :] for own in segments(problem)]
        rows = torch.cat([*parts, tail(problem)])
        after = resized(problem, tuple(map(len, parts)), X=problem.X[rows], dY=problem.dY[rows])
        yield FollowUp(after, dict.fromkeys(("Y", "dX"), (at(rows), whole)))


def row_copied(problem: GroupedGemmProblem, _: Target) -> FollowUps:
    """Padding with copies of a token gives copies of its row and changes no other."""
    sizes = problem.case.m_sizes
    if problem.gather_indices is not None or not sum(sizes):
        return
    e = max(range(len(sizes)), key=sizes.__getitem__)
    own = segments(problem)
    rows = torch.cat([*own[: e + 1], own[e][:1].repeat(3), *own[e + 1 :], tail(problem)])
    after = resized(problem, (*sizes[:e], sizes[e] + 3, *sizes[e + 1 :]), X=problem.X[rows], dY=problem.dY[rows])
    yield FollowUp(after, dict.fromkeys(("Y", "dX"), (at(rows), whole)))


def n_padded(problem: GroupedGemmProblem, target: Target) -> FollowUps:
    """Columns of zeros in W give columns of zeros in Y and change nothing else."""
    N, more = problem.case.N, further(problem, target, "N")
    case = dataclasses.replace(problem.case, N=N + more)
    wider = dataclasses.replace(problem, case=case, W=padded(problem.W, rows=more), dY=padded(problem.dY, more))
    columns = at((slice(None), slice(N)))
    yield FollowUp(wider, {"Y": (whole, columns), "dX": (whole, whole), "dW": (whole, columns)})


def k_padded(problem: GroupedGemmProblem, target: Target) -> FollowUps:
    """Zeros beyond the depth of X and W change nothing."""
    K, more = problem.case.K, further(problem, target, "K")
    case = dataclasses.replace(problem.case, K=K + more)
    deeper = dataclasses.replace(problem, case=case, X=padded(problem.X, more), W=padded(problem.W, more))
    columns = at((..., slice(K)))
    yield FollowUp(deeper, {"Y": (whole, whole), "dX": (whole, columns), "dW": (whole, columns)})


def scaled(problem: GroupedGemmProblem, _: Target) -> FollowUps:
    """Twice X gives twice Y and dW bit for bit, while everything stays normal and finite, and the same dX."""
    limits = torch.finfo(problem.X.dtype)

    def twice(t: torch.Tensor) -> torch.Tensor:
        # Numbers that are subnormal or beyond the range, before or after, are left out.
        return torch.where((t.abs() > limits.tiny) & (t.abs() <= limits.max / 2), 2 * t, 0)

    def comparable(t: torch.Tensor) -> torch.Tensor:
        return torch.where((t.abs() > 2 * limits.tiny) & (t.abs() <= limits.max), t, 0)

    doubled = dataclasses.replace(problem, X=laid_out_like(problem.X, 2 * problem.X))
    yield FollowUp(doubled, {"Y": (twice, comparable), "dW": (twice, comparable), "dX": (whole, whole)}, bitwise=True)


def foreign_rows_nan(problem: GroupedGemmProblem, _: Target) -> FollowUps:
    """NaN in one expert's rows reaches its own rows of Y and its own dW, and nothing else."""
    if problem.case.tokens_in:  # a token's row belongs to several experts
        return
    e = drawn_permutation(problem, problem.case.E)[:1]
    own, X = segments(problem)[int(e)], problem.X.clone()
    X[x_rows(problem, own)] = torch.nan
    rows, experts = at(others(problem.case.M, y_rows(problem, own))), at(others(problem.case.E, e))
    after = dataclasses.replace(problem, X=laid_out_like(problem.X, X))
    yield FollowUp(after, {"Y": (rows, rows), "dX": (whole, whole), "dW": (experts, experts)}, bitwise=True, check_bounds=False)


def foreign_weights_nan(problem: GroupedGemmProblem, _: Target) -> FollowUps:
    """NaN in one expert's weights reaches its own rows of Y and dX, and nothing else."""
    e = drawn_permutation(problem, problem.case.E)[:1]
    own, W = segments(problem)[int(e)], problem.W.clone()
    W[e] = torch.nan
    rows, inputs = at(others(problem.case.M, y_rows(problem, own))), at(others(len(problem.X), x_rows(problem, own)))
    after = dataclasses.replace(problem, W=laid_out_like(problem.W, W))
    yield FollowUp(after, {"Y": (rows, rows), "dX": (inputs, inputs), "dW": (whole, whole)}, bitwise=True, check_bounds=False)


def other_tiles(problem: GroupedGemmProblem, target: Target) -> FollowUps:
    """Every tile configuration agrees with every other."""
    if target.configurable:
        for config in _OTHER_TILES:
            yield FollowUp(dataclasses.replace(problem, case=dataclasses.replace(problem.case, config=config)), _EVERYTHING)


def strides_dropped(problem: GroupedGemmProblem, _: Target) -> FollowUps:
    """A strided view agrees with its copy."""
    case = dataclasses.replace(problem.case, x_layout="contiguous", w_layout="contiguous", dy_layout="contiguous")
    copies = {name: getattr(problem, name).contiguous() for name in ("X", "W", "dY")}
    yield FollowUp(dataclasses.replace(problem, case=case, **copies), _EVERYTHING)


def fewer_gradients(problem: GroupedGemmProblem, _: Target) -> FollowUps:
    """Any subset of requires_grad gives the same remaining results."""
    for grads in {"XW": ("X", "W", "")}.get(problem.case.grads, ("",)):
        yield FollowUp(dataclasses.replace(problem, case=dataclasses.replace(problem.case, grads=grads)), _EVERYTHING)


def gradients_accumulated(problem: GroupedGemmProblem, _: Target) -> FollowUps:
    """A second backward pass on the same graph adds the same gradients once more."""
    twice = (lambda t: 2 * t, whole)
    yield FollowUp(problem, {"Y": (whole, whole), "dX": twice, "dW": twice}, bitwise=True, check_bounds=False, run=twice_on_one_graph)


def autocast(problem: GroupedGemmProblem, _: Target) -> FollowUps:
    """Under autocast to bfloat16 a call is right, to the precision of bfloat16 if its inputs are float32; it may refuse these."""
    if problem.X.dtype is torch.bfloat16:
        yield FollowUp(problem, _EVERYTHING, run=under_autocast)
    elif problem.X.dtype is torch.float32:
        yield FollowUp(rounded_to(problem, torch.bfloat16), run=under_autocast, dtype=torch.bfloat16)


def other_stream(problem: GroupedGemmProblem, _: Target) -> FollowUps:
    """A call on a side stream equals one on the default stream."""
    if torch.cuda.is_available():
        yield FollowUp(problem, _EVERYTHING, run=on_another_stream(run_grouped_gemm))


def graph_replayed(problem: GroupedGemmProblem, target: Target) -> FollowUps:
    """A CUDA graph that was captured with other contents, and is replayed with these, equals the eager call."""
    if torch.cuda.is_available() and target.capturable:
        yield FollowUp(problem, _EVERYTHING, run=replayed)


RELATIONS_BY_NAME = by_name(
    RELATIONS,
    (
        repeated, other_shapes_between, experts_permuted, rows_permuted, empty_expert_inserted, expert_split, rows_in_two_calls,
        row_copied, n_padded, k_padded, scaled, foreign_rows_nan, foreign_weights_nan, other_tiles, strides_dropped,
        fewer_gradients, gradients_accumulated, autocast, other_stream, graph_replayed,
    ),
)  # fmt: skip
"""The function of each relation that a case can name."""
