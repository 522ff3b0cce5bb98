"""A test suite with a fixed grid and flat tolerances, as projects have today: the baseline of ``mutants.py``.

T in {128, 1024} tokens, E in {4, 16} experts, topk in {1, 4}, N = K in {32, 128, 512}, bfloat16, X and W a tenth of normal numbers, random
routing; forward, dX and dW are compared with a bfloat16 torch product for each expert, by ``torch.allclose`` with atol = rtol = 1e-3 or
1e-2.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from moefuzz.harness.base.device import device

TOLERANCES = (1e-3, 1e-2)
GRID = tuple(itertools.product((32, 128, 512), (128, 1024), (4, 16), (1, 4), ("none", "x", "y")))
"""(N = K, T, E, topk, permute), the cheapest first."""


def points() -> list[tuple[int, int, int, int, str]]:
    """Return the grid; without a GPU only T = 128 with N and K up to 128, since all of it takes six minutes there."""
    return [point for point in GRID if device().type == "cuda" or (point[0] <= 128 and point[1] == 128)]


def disagreements(function: Callable[..., torch.Tensor], size: int, T: int, E: int, topk: int, permute: str) -> Iterator[tuple[str, float]]:
    """Yield each tensor that differs by more than a tolerance, with that tolerance. Raises what the function raises."""
    numbers = np.random.default_rng(3407)
    draw = lambda *shape: torch.from_numpy(numbers.standard_normal(shape) / 10).to(device(), torch.bfloat16)
    experts = torch.from_numpy(numbers.random((T, E))).topk(topk).indices.flatten().to(device())
    slots = experts.argsort(stable=True)
    sizes = experts.bincount(minlength=E)
    X, W, dY = draw(T if permute == "x" else T * topk, size), draw(E, size, size), draw(T * topk, size)
    keywords: dict[str, Any] = {} if permute == "none" else {f"permute_{permute}": True, "is_first_gemm": permute == "x"}
    ours, right = [t.clone().requires_grad_() for t in (X, W)], [t.clone().requires_grad_() for t in (X, W)]
    Y = function(*ours, sizes.int(), topk=topk, gather_indices=slots.int(), **keywords)
    Y.backward(dY)
    rows = right[0][slots // topk] if permute == "x" else right[0]
    blocks = [part @ w.T for part, w in zip(rows.split(sizes.tolist()), right[1], strict=True)]
    expected = torch.cat(blocks)[slots.argsort()] if permute == "y" else torch.cat(blocks)
    expected.backward(dY)
    for name, a, b in (("Y", Y, expected), ("dX", ours[0].grad, right[0].grad), ("dW", ours[1].grad, right[1].grad)):
        for tolerance in TOLERANCES:
            if a is None or a.shape != b.shape or not torch.allclose(a.float(), b.float(), atol=tolerance, rtol=tolerance):
                yield name, tolerance


def main() -> None:
    """Print at how many points of the whole grid our own kernels fail, although they are right."""
    from moefuzz.kernels.grouped_gemm import grouped_gemm

    found = [{tolerance for _, tolerance in disagreements(grouped_gemm, *point)} for point in GRID]
    for tolerance in TOLERANCES:
        print(f"at {tolerance}: {sum(tolerance in failed for failed in found)} of {len(GRID)} points fail on our own kernels")  # noqa: T201


if __name__ == "__main__":
    main()
