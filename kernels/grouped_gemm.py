"""The grouped GEMM op: one Triton launch forward, one each for dX and dW, behind a torch.autograd.Function.

    y[m, n] = sum_k x[m, k] * w[e(m), n, k]      m_sizes[e] consecutive rows of x belong to expert e

No value is read on the host, so a call can be captured in a CUDA graph; only ``validate`` reads values, to check them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from . import autotuning
from .grouped_gemm_details.dw import grouped_gemm_dw
from .grouped_gemm_details.dw_hopper import grouped_gemm_dw_hopper
from .grouped_gemm_details.dw_tma import grouped_gemm_dw_tma
from .grouped_gemm_details.gather_rows import gathered_rows
from .grouped_gemm_details.hopper_pipeline import stages_of
from .grouped_gemm_details.rows import RowMap, grouped_gemm_rows
from .grouped_gemm_details.rows_hopper import grouped_gemm_rows_hopper
from .grouped_gemm_details.rows_tma import grouped_gemm_rows_tma
from .grouped_gemm_details.tile_schedule import TileSchedule
from .kernel_config import KernelConfig
from .moe_details.combine_rows import sum_by_token
from .moe_details.elementwise import check_dtype
from .sorted_rows import SortedRows


def grouped_gemm(
    X: torch.Tensor,  # [M, K], or [T, K] under permute_x in the first GEMM
    W: torch.Tensor,  # [E, N, K]
    m_sizes: torch.Tensor,  # [E] int32 or int64
    topk: int,
    gather_indices: torch.Tensor | None = None,  # [M] int32 or int64
    permute_x: bool = False,
    permute_y: bool = False,
    topk_weights: torch.Tensor | None = None,  # [T, topk]
    fuse_mul_post: bool = False,
    kernel_config_fwd: KernelConfig | None = None,
    kernel_config_bwd_dX: KernelConfig | None = None,
    kernel_config_bwd_dW: KernelConfig | None = None,
    autotune: bool = False,
    is_first_gemm: bool = True,
    validate: bool = False,
) -> torch.Tensor:  # [M, N]
    """Multiply each row of X by its expert's matrix; differentiable in X and W.

    Sorted row r came from flat slot ``gather_indices[r] = t * topk + j``: token t, choice j.

    - ``permute_x``: X is not sorted; sorted row r is X[g // topk] in the first GEMM (X holds tokens), X[g] otherwise. dX comes back in
      X's own order, summed over topk in float32 and rounded once.
    - ``permute_y``: sorted row r of the result is stored at row g.
    - ``fuse_mul_post``: each row is multiplied by its routing weight in the epilogue, before the one rounding. For inference.
    - ``kernel_config_*``: tile sizes per pass; defaults follow the shapes. ``autotune`` times the candidates on scratch memory once
      per shape instead.
    - ``validate``: also check what only the device knows (the sum of m_sizes, the range of gather_indices); this synchronises. Without it
      sizes that are negative or sum to more than M, and slots outside [0, M), are read and written where they point.

    X, W and the result share one dtype of float32, float16 and bfloat16; accumulation is in float32 (no tf32). W and X may be any
    strided view. Rows beyond the sum of m_sizes come back as zeros, in the result and in dX, whatever they hold; their
    gather_indices are not read. dW of an expert without rows is zero.

    Raises TypeError for a wrong dtype, ValueError for shapes, devices, flags and configs that do not fit.
    """
    call = _Call(topk, permute_x, permute_y, fuse_mul_post, is_first_gemm)
    M = call.check(X, W, m_sizes, gather_indices, topk_weights)
    if validate:
        call.check_values(m_sizes, gather_indices, M)
    row_weights = topk_weights.reshape(-1).to(torch.float32) if fuse_mul_post and topk_weights is not None else None
    configs = (kernel_config_fwd, kernel_config_bwd_dX, kernel_config_bwd_dW)
    y: torch.Tensor = _GroupedGemm.apply(X, W, SortedRows(m_sizes, gather_indices, M), row_weights, call, configs, autotune)  # type: ignore[no-untyped-call]
    return y


def grouped_gemm_of_rows(
    X: torch.Tensor,
    W: torch.Tensor,
    rows: SortedRows,
    topk: int,
    permute_x: bool = False,
    is_first_gemm: bool = True,
) -> torch.Tensor:
    """Compute ``grouped_gemm`` without its options, for sorted rows that several calls share."""
    call = _Call(topk, permute_x, False, False, is_first_gemm)
    call.check(X, W, rows.m_sizes, rows.gather_indices, None)
    y: torch.Tensor = _GroupedGemm.apply(X, W, rows, None, call, (None, None, None), False)  # type: ignore[no-untyped-call]
    return y


class _Call(NamedTuple):
    topk: int
    permute_x: bool
    permute_y: bool
    fuse_mul_post: bool
    is_first_gemm: bool

    @property
    def permuted(self) -> bool:
        return self.permute_x or self.permute_y

    @property
    def tokens_in(self) -> bool:
        """Whether X holds one row per token rather than one per (token, choice)."""
        return self.permute_x and self.is_first_gemm

    @property
    def x_divisor(self) -> int:
        return self.topk if self.tokens_in else 1

    def check(
        self,
        X: torch.Tensor,
        W: torch.Tensor,
        m_sizes: torch.Tensor,
        gather_indices: torch.Tensor | None,
        topk_weights: torch.Tensor | None,
    ) -> int:
        """Check shapes, dtypes and devices, which the host knows, and return M, the number of rows of the result."""
        if self.topk < 1:
            raise ValueError(f"topk must be at least 1, got {self.topk}")
        for name, tensor, rank in (("X", X, 2), ("W", W, 3), ("m_sizes", m_sizes, 1)):
            if tensor.dim() != rank:
                raise ValueError(f"{name} must have {rank} dimensions, got shape {tuple(tensor.shape)}")
        check_dtype("X", X)
        if W.dtype != X.dtype:
            raise TypeError(f"W must have X's dtype {X.dtype}, got {W.dtype}")
        E, N, K = W.shape
        if X.shape[1] != K:
            raise ValueError(f"X has {X.shape[1]} columns but W has K = {K}")
        if min(E, N, K) < 1:
            raise ValueError(f"W must have E, N, K of at least 1, got shape {tuple(W.shape)}")
        if m_sizes.shape[0] != E:
            raise ValueError(f"m_sizes must have one entry for each of the {E} experts of W, got {m_sizes.shape[0]}")
        M = X.shape[0] * self.x_divisor
        if self.permute_x and self.permute_y:
            raise ValueError("permute_x and permute_y exclude each other: a call gathers its input or scatters its output, not both")
        if gather_indices is None and (self.permute_x or self.permute_y or self.fuse_mul_post):
            raise ValueError("gather_indices is needed for permute_x, permute_y and fuse_mul_post, got None")
        if gather_indices is not None and tuple(gather_indices.shape) != (M,):
            raise ValueError(f"gather_indices must have shape ({M},), got {tuple(gather_indices.shape)}")
        if self.fuse_mul_post:
            self._check_weights(X, W, topk_weights, M)
        for name, index in (("m_sizes", m_sizes), ("gather_indices", gather_indices)):
            if index is not None and index.dtype not in (torch.int32, torch.int64):
                raise TypeError(f"{name} must be int32 or int64, got {index.dtype}")
        others = (("W", W), ("m_sizes", m_sizes), ("gather_indices", gather_indices), ("topk_weights", topk_weights))
        for name, operand in others:
            if operand is not None and operand.device != X.device:
                raise ValueError(f"{name} must be on X's device {X.device}, got {operand.device}")
        if max(M, N, K) > 2**31 - 2**16:  # rounded up to whole tiles they fit into 32 bits
            raise ValueError(f"M, N and K must be at most 2**31 - 2**16, got {M}, {N} and {K}")
        return M

    def _check_weights(self, X: torch.Tensor, W: torch.Tensor, topk_weights: torch.Tensor | None, M: int) -> None:
        if topk_weights is None:
            raise ValueError("topk_weights is needed for fuse_mul_post, got None")
        if topk_weights.numel() != M:
            raise ValueError(f"topk_weights must hold {M} weights, one for each row, got shape {tuple(topk_weights.shape)}")
        if not topk_weights.is_floating_point():
            raise TypeError(f"topk_weights must be floating point, got {topk_weights.dtype}")
        if torch.is_grad_enabled() and (X.requires_grad or W.requires_grad or topk_weights.requires_grad):
            raise ValueError("fuse_mul_post has no backward pass: call it without inputs that require grad, or under torch.no_grad()")

    def check_values(self, m_sizes: torch.Tensor, gather_indices: torch.Tensor | None, M: int) -> None:
        """Check the values that only the device knows; this synchronises. Raises ValueError."""
        smallest, total = int(m_sizes.min()), int(m_sizes.sum())
        if smallest < 0:
            raise ValueError(f"m_sizes must not be negative, got {smallest}")
        if total > M:
            raise ValueError(f"the sum of m_sizes must be at most M = {M}, got {total}")
        if gather_indices is not None and total:
            used = gather_indices[:total]
            low, high = int(used.min()), int(used.max())
            if low < 0 or high >= M:
                raise ValueError(f"gather_indices must lie in [0, {M}), got values from {low} to {high}")
            if used.unique().numel() != total:
                raise ValueError(f"gather_indices must not repeat a slot, got {total - used.unique().numel()} repeats")


class _GroupedGemm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        X: torch.Tensor,
        W: torch.Tensor,
        rows: SortedRows,
        row_weights: torch.Tensor | None,
        call: _Call,
        configs: tuple[KernelConfig | None, KernelConfig | None, KernelConfig | None],
        autotune: bool,
    ) -> torch.Tensor:
        row_map = RowMap(rows.gather_indices, row_weights, call.permute_x, call.permute_y, call.x_divisor)

        def launch(config: KernelConfig) -> torch.Tensor:
            y = X.new_zeros(rows.M, W.shape[1]) if call.permute_y else X.new_empty(rows.M, W.shape[1])
            return _rows(X, W, y, rows.schedule(config.block_m), row_map, config=config, block_n=config.block_n, block_k=config.block_k)

        ctx.save_for_backward(X, W, rows.m_sizes, rows.gather_indices)  # the last two so that autograd detects changes to them
        ctx.rows, ctx.call, ctx.configs, ctx.autotune = rows, call, configs, autotune
        choice = autotuning.Choice("forward", X, W, rows.M, W.shape[0], call, plain=row_map.is_identity)
        return launch(choice.config(configs[0], launch if autotune else None))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dY: torch.Tensor) -> tuple[Any, ...]:
        X, W, *_ = ctx.saved_tensors
        dX = _dx(ctx, dY, X, W) if ctx.needs_input_grad[0] else None
        dW = _dw(ctx, dY, X, W) if ctx.needs_input_grad[1] else None
        return (dX, dW) + (None,) * 5


def _rows(
    x: torch.Tensor,
    w: torch.Tensor,
    y: torch.Tensor,
    schedule: TileSchedule,
    row_map: RowMap,
    *,
    config: KernelConfig,
    block_n: int,
    block_k: int,
) -> torch.Tensor:
    """Compute the rows of the forward pass or of dX with the kernel that the config selects."""
    whole = block_k % 64 == 0  # boxes of x and w are whole swizzled columns too
    if row_map.is_identity and whole and (stages := stages_of(config, y, config.block_m, block_n, block_k)):
        return grouped_gemm_rows_hopper(x, w, y, schedule, block_n=block_n, block_k=block_k, stages=stages)
    launch = grouped_gemm_rows_tma if config.tma else grouped_gemm_rows
    return launch(x, w, y, schedule, row_map, config=config, block_n=block_n, block_k=block_k)


def _dx(ctx: Any, dY: torch.Tensor, X: torch.Tensor, W: torch.Tensor) -> torch.Tensor:
    call: _Call = ctx.call
    rows: SortedRows = ctx.rows

    def launch(config: KernelConfig) -> torch.Tensor:
        # One row per slot; if X holds tokens, rows stay sorted, in float32, and are summed below.
        scatter = call.permute_x and not call.tokens_in
        made = torch.zeros if scatter else torch.empty
        dx = made(rows.M, W.shape[2], dtype=torch.float32 if call.tokens_in else X.dtype, device=X.device)
        row_map = RowMap(rows.gather_indices, gather=call.permute_y, scatter=scatter)
        schedule = rows.schedule(config.block_m)
        return _rows(dY, W.transpose(1, 2), dx, schedule, row_map, config=config, block_n=config.block_k, block_k=config.block_n)

    choice = autotuning.Choice("dX", dY, W, rows.M, W.shape[0], call, plain=not call.permuted)
    dx = launch(choice.config(ctx.configs[1], launch if ctx.autotune else None))
    if not call.tokens_in:
        return dx
    return sum_by_token(dx, rows.row_of_slot, call.topk, X.dtype)


def _dw(ctx: Any, dY: torch.Tensor, X: torch.Tensor, W: torch.Tensor) -> torch.Tensor:
    call: _Call = ctx.call
    rows: SortedRows = ctx.rows
    given, gather_x = ctx.configs[2], call.permute_x
    if gather_x and given is None and rows.gather_indices is not None:
        # Each row is read for every tile of columns: once sorted, rows can be loaded as boxes.
        X, gather_x = gathered_rows(X, rows.gather_indices, rows.row_ends, call.x_divisor), False

    def launch(config: KernelConfig) -> torch.Tensor:
        dw = torch.empty(W.shape, dtype=W.dtype, device=W.device)
        stages = stages_of(config, dw, config.block_n, config.block_k, config.block_m)
        if stages and not (gather_x or call.permute_y):
            return grouped_gemm_dw_hopper(
                X, dY, dw, rows.m_sizes, rows.row_ends, block_m=config.block_m, block_k=config.block_k, stages=stages
            )
        return (grouped_gemm_dw_tma if config.tma else grouped_gemm_dw)(
            X, dY, dw, rows.m_sizes, rows.row_ends, rows.gather_indices,
            permute_x=gather_x, permute_y=call.permute_y, x_divisor=call.x_divisor, config=config,
        )  # fmt: skip

    choice = autotuning.Choice("dW", dY, X, rows.M, W.shape[0], (call, tuple(W.shape)), plain=not (gather_x or call.permute_y))
    return launch(choice.config(given, launch if ctx.autotune else None))
