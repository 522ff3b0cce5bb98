"""What follows from the loads of the experts and from where sorted rows came from: made on the device, once for all that share it."""

from __future__ import annotations

import functools

import torch

from .grouped_gemm_details.tile_schedule import TileSchedule, tile_schedule
from .moe_details.combine_rows import rows_of_slots
from .moe_details.rank_slots import FEW, rank_slots
from .routing import count_by_expert, sort_by_expert


class SortedRows:
    """M rows, ``m_sizes[e]`` consecutive ones of expert e; row r came from flat slot ``gather_indices[r]``, where that is known.

    The GEMMs of a block share one, forward and backward. Nothing of it is made before it is asked for, or read on the host.
    """

    def __init__(self, m_sizes: torch.Tensor, gather_indices: torch.Tensor | None, M: int) -> None:
        self.m_sizes = m_sizes.to(torch.int32).contiguous()  # [E]
        self.gather_indices = None if gather_indices is None else gather_indices.to(torch.int32).contiguous()  # [M]
        self.M = M
        self._schedules: dict[int, TileSchedule] = {}

    @classmethod
    def by_expert(cls, topk_ids: torch.Tensor, num_experts: int) -> SortedRows:
        """One row for each slot of ``topk_ids`` [T, topk] int64, as ``sort_by_expert`` sorts them."""
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
        """[E]: where the rows of each expert end."""
        return self.m_sizes.cumsum(0, dtype=torch.int32)

    @functools.cached_property
    def row_of_slot(self) -> torch.Tensor:
        """[M]: the inverse of ``gather_indices`` over the rows that experts own, -1 for other slots."""
        if self.gather_indices is None:
            raise ValueError("where the rows came from is not known: gather_indices is None")
        return rows_of_slots(self.m_sizes, self.gather_indices)
