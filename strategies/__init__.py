"""Hypothesis strategies for cases and their parts; each is named by a plural noun, and draws only valid values."""

from .expert_counts import (
    block_aligned_counts,
    even_counts,
    expert_counts,
    fewer_rows_than_experts,
    free_counts,
    one_expert_takes_all,
    power_law_counts,
    starving_counts,
    tile_edge_counts,
)
from .experts import experts_cases
from .grouped_gemms import data_recipes, grouped_gemm_cases, kernel_configs
from .moe_blocks import expert_loads, moe_block_cases
from .released_models import blocks_like, configs_like
from .sizes import dimension_sizes, tile_edge_sizes, token_counts

__all__ = [
    "block_aligned_counts",
    "blocks_like",
    "configs_like",
    "data_recipes",
    "dimension_sizes",
    "even_counts",
    "expert_counts",
    "expert_loads",
    "experts_cases",
    "fewer_rows_than_experts",
    "free_counts",
    "grouped_gemm_cases",
    "kernel_configs",
    "moe_block_cases",
    "one_expert_takes_all",
    "power_law_counts",
    "starving_counts",
    "tile_edge_counts",
    "tile_edge_sizes",
    "token_counts",
]
