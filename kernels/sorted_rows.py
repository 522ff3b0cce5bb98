"""Data derived from expert loads and gather indices, computed on the device once for all kernels that share it."""

from __future__ import annotations

import functools

import torch

from .grouped_gemm_details.tile_schedule import TileSchedule, tile_schedule
from .moe_details.combine_rows import rows_of_slots
from .moe_details.rank_slots import FEW, rank_slots
from .routing import count_by_expert, sort_by_expert


class SortedRows:
    """M rows, of which ``m_sizes[e]`` consecutive ones belong to expert e; row r came from flat slot ``gather_indices[r]``, if known.

    The GEMMs of a block share one object, forward and backward. Each part is computed when it is first used; none is read on the host.
    """

    def __init__(self, m_sizes: torch.Tensor, gather_indices: torch.Tensor | None, M: int) -> None:
        self.m_sizes = m_sizes.to(torch.int32).contiguous()  # [E]
        self.gather_indices = None if gather_indices is None else gather_indices.to(torch.int32).contiguous()  # [M]
        self.M = M
        self._schedules: dict[int, TileSchedule] = {}

    @classmethod
    def by_expert(cls, topk_ids: torch.Tensor, num_experts: int) -> SortedRows:
        """Return one row for each slot of ``topk_ids`` [T, topk] int64, in the order of ``sort_by_expert``."""
        M = topk_ids.numel()
        if M > FEW:
            return cls(*sort_by_expert(topk_ids, num_experts), M)
        ids = topk_ids.reshape(-1).contiguous()
        gather_indices, row_of_slot = rank_slots(ids)
        rows = cls(count_by_expert(ids, num_experts), gather_indices, M)
        rows.row_of_slot = row_of_slot
        return rows

    def schedule(self, block_m: int) -> TileSchedule:
        if block_m not in self._schedules:
            self._schedules[block_m] = tile_schedule(self.m_sizes, self.M, block_m)
        return self._schedules[block_m]

    @functools.cached_property
    def row_ends(self) -> torch.Tensor:
        """The end of each expert's rows, [E]."""
        return self.m_sizes.cumsum(0, dtype=torch.int32)

    @functools.cached_property
    def row_of_slot(self) -> torch.Tensor:
        """The inverse of ``gather_indices`` over the rows that experts own, [M]; -1 for other slots. Raises ValueError without them."""
        if self.gather_indices is None:
            raise ValueError("where the rows came from is not known: gather_indices is None")
        return rows_of_slots(self.m_sizes, self.gather_indices)
