"""The contract of a grouped GEMM: ``f(X [M, K], W [E, N, K], m_sizes [E], **keywords) -> Y [M, N]``."""

from __future__ import annotations

from moefuzz.harness.base.contract import Contract

from .case import GroupedGemmCase

CONTRACT = Contract(
    level="grouped_gemm",
    case=GroupedGemmCase,
    parameters=("X", "W", "m_sizes"),
    inputs=("X", "W", "m_sizes", "gather_indices", "topk_weights", "dY"),
    passes={"Y": "forward", "dX": "backward", "dW": "backward"},
    limits=("dtypes", "zero_rows", "k_multiple", "row_bytes", "strides", "backward", "n_multiple", "m_multiple"),
    declares=("tf32", "partial_sums"),
    optional=("topk",),
    own_targets=("moefuzz.kernels.grouped_gemm:grouped_gemm",),
    own_fields={"tail_rows": "zero", "capturable": True},
)
