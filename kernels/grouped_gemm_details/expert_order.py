"""order = the experts with more than twice the mean rows, then the others: the order in which dW's tiles are processed, in one launch.

    m_sizes [E] int32   order [E] int32, the experts in two ascending runs   counter [1] int32, zero

The time of a tile of dW is proportional to its expert's rows, so all other programs would wait for a large one that begins last. The other
experts keep their order: sorted by rows they took longer (docs/evidence/speed.md).
One program holds all experts [BLOCK_E]. Mask: e < E. On a GPU each expert has its own place whatever the sizes.
"""

from __future__ import annotations

import torch
import triton.language as tl

from .. import launching, triton_interpreter
from .tile_schedule import experts_block

triton_interpreter.repair()


@launching.jit(do_not_specialize=["m_sizes_ptr", "order_ptr", "counter_ptr", "E"])
def _heavy_first_kernel(m_sizes_ptr, order_ptr, counter_ptr, E: tl.int32, BLOCK_E: tl.constexpr):
    e = tl.arange(0, BLOCK_E)  # [BLOCK_E]
    mask = e < E
    sizes = tl.load(m_sizes_ptr + e, mask=mask, other=0)
    is_heavy = (sizes > tl.sum(sizes, 0) // E * 2) & mask
    heavy = is_heavy.to(tl.int32)
    heavy_before = tl.cumsum(heavy, 0) - heavy
    place = tl.where(is_heavy, heavy_before, tl.sum(heavy, 0) + e - heavy_before)
    tl.store(order_ptr + place, e, mask=mask)
    tl.store(counter_ptr, 0)


def heavy_first(m_sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # order, counter
    """Return order and counter for ``m_sizes`` [E] int32, contiguous, of one expert or more."""
    E = m_sizes.numel()
    made = torch.empty(E + 1, dtype=torch.int32, device=m_sizes.device)
    order, counter = made[:E], made[E:]
    _heavy_first_kernel[(1,)](m_sizes, order, counter, E, BLOCK_E=experts_block(E))
    return order, counter
