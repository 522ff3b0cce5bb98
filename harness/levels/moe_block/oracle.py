"""The oracle of the ``moe_block`` level: the reference and the carried bound of every tensor that a block exposes.

Every block exposes output, router logits (through its own gate) and all five gradients. moefuzz's own blocks expose every intermediate too.
These are judged stage by stage, and the bounds of stages after the router start from the weights that the router returned.
"""

from __future__ import annotations

import torch

from moefuzz.harness.failures import WrongRouting
from moefuzz.harness.numerics.claims import Claim
from moefuzz.harness.targets import Target
from moefuzz.kernels.kernel_config import KernelConfig
from moefuzz.kernels.qwen3_moe import GroupedGEMMResult

from .bounds import BlockBounds, block_bounds
from .problem import MoeBlockProblem
from .run import BlockResult, moe_block_tensors

AXES = {
    "router_logits": ("token", "expert"),
    "topk_weights": ("token", "choice"),
    "first_gemm": ("row", "column"),
    "intermediate": ("row", "column"),
    "second_gemm": ("row", "column"),
    "hidden_states_unpermute": ("slot", "column"),
    "output": ("token", "column"),
    "X_grad": ("token", "column"),
    "gate_grad": ("expert", "column"),
    "gate_proj_grad": ("expert", "row", "column"),
    "up_proj_grad": ("expert", "row", "column"),
    "down_proj_grad": ("expert", "row", "column"),
}
SORTED_BY_EXPERT = ("first_gemm", "intermediate", "second_gemm")


def bounds_of(problem: MoeBlockProblem, topk_weights: torch.Tensor | None = None, topk_ids: torch.Tensor | None = None) -> BlockBounds:
    """Return the carried bounds of a problem; with ``topk_weights`` the stages after the router start from these."""
    case = problem.case
    bounds = block_bounds(
        problem.X, problem.gate, problem.gate_up_proj, problem.down_proj, problem.dY,
        topk=case.topk, norm_topk_prob=case.norm_topk_prob, act=case.act, dtype=getattr(torch, case.dtype),
        topk_ids=topk_ids, topk_weights=topk_weights,
    )  # fmt: skip
    assert bool((bounds.router_gap > 0).all()), f"{case!r} does not decide its routing: a gap of {float(bounds.router_gap.min())}"
    return bounds


def moe_block_claims(problem: MoeBlockProblem, result: BlockResult, target: Target) -> list[Claim]:
    """Return the claims on each exposed tensor, in the order of computation. Raises WrongRouting."""
    shown = result.forward.grouped_gemm_result
    if shown is None:
        bounds = bounds_of(problem)
    else:
        bounds = bounds_of(problem, shown.topk_weights.detach().cpu(), topk_ids_of(problem, shown, target.name))
    tiles = target.tiles(problem.case)
    return [_claim(problem, name, got, bounds, tiles) for name, got in moe_block_tensors(problem, result).items()]


def _claim(problem: MoeBlockProblem, name: str, got: torch.Tensor, bounds: BlockBounds, tiles: KernelConfig | None) -> Claim:
    case = problem.case
    carried, sorted_rows = bounds.carried()[name], name in SORTED_BY_EXPERT
    shape = tuple(carried.value.shape)
    blocks: tuple[int | None, ...] = (tiles.block_m if sorted_rows and tiles else None, *(None,) * (len(shape) - 1))
    return Claim(name, AXES[name], got, shape, carried.value, carried.error, blocks, case.loads if sorted_rows else None)


def topk_ids_of(problem: MoeBlockProblem, shown: GroupedGEMMResult, target: str) -> torch.Tensor:
    """Return [T, topk], the expert of each slot, as the sorted order has it. Raises WrongRouting where it is not the case's routing.

    Logits of chosen experts may tie; then an implementation may order them within a token as it likes.
    """
    case = problem.case
    gather_indices, counts = shown.gather_indices.cpu(), shown.token_counts_by_expert.cpu()
    ids = torch.empty(case.T * case.topk, dtype=torch.int64)
    ids[gather_indices.long()] = torch.repeat_interleave(torch.arange(case.E), counts.long())
    ids = ids.reshape(case.T, case.topk)
    chosen = torch.zeros(case.T, case.E, dtype=torch.bool).scatter_(1, ids, True)
    wrong = (chosen != problem.chosen).any(1).nonzero()
    if len(wrong):
        t = int(wrong[0])
        wanted = problem.chosen[t].nonzero().flatten().tolist()
        raise WrongRouting(case, target, f"token {t} went to experts {sorted(ids[t].tolist())}, its logits choose {wanted}")
    return ids
