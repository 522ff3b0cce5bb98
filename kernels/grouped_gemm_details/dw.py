"""dw[e, n, k] = sum_{m: e(m) = e} dy[dy_row(m), n] * x[x_row(m), k]        e(m): the expert that owns sorted row m

    x [*, K]   dy [*, N]   dw [E, N, K] in the type of the buffer, accumulated in float32   gather_indices [M] int32 or int64
    x_row(m)  = gather_indices[m] // x_divisor  under PERMUTE_X, else m
    dy_row(m) = gather_indices[m]               under PERMUTE_Y, else m

Program (i, j, e) owns rows i*BLOCK_N + [0, BLOCK_N) and columns j*BLOCK_K + [0, BLOCK_K) of expert e, and walks that expert's rows
[row_ends[e] - m_sizes[e], row_ends[e]) in steps of BLOCK_M. An expert without rows takes no step and stores zeros.
Masks: m < row_ends[e] with other=0 (the contraction: a foreign row must add nothing), n < N, k < K.
Offsets are int64 before they meet a stride.
"""

from __future__ import annotations

import torch
import triton.language as tl

from .. import launching, triton_interpreter
from ..kernel_config import KernelConfig

triton_interpreter.repair()


@launching.jit(
    do_not_specialize=[
        "x_ptr", "dy_ptr", "dw_ptr", "gather_ptr", "m_sizes_ptr", "row_ends_ptr", "N", "K", "x_divisor",
        "stride_xm", "stride_xk", "stride_dym", "stride_dyn", "stride_we", "stride_wn", "stride_wk",
    ]
)  # fmt: skip
def _grouped_gemm_dw_kernel(
    x_ptr,
    dy_ptr,
    dw_ptr,
    gather_ptr,
    m_sizes_ptr,
    row_ends_ptr,
    N: tl.int32,
    K: tl.int32,
    x_divisor: tl.int32,
    stride_xm: tl.int64,
    stride_xk: tl.int64,
    stride_dym: tl.int64,
    stride_dyn: tl.int64,
    stride_we: tl.int64,
    stride_wn: tl.int64,
    stride_wk: tl.int64,
    PERMUTE_X: tl.constexpr,
    PERMUTE_Y: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    e = tl.program_id(2)
    end = tl.load(row_ends_ptr + e)
    start = end - tl.load(m_sizes_ptr + e).to(tl.int32)
    rn = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)  # [BLOCK_N]
    rk = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)  # [BLOCK_K]
    if ALIGNED:
        mask_n = rn // 8 * 8 < N  # the same for multiples of 8, and known to be constant over 8 columns
        mask_k = rk // 8 * 8 < K
    else:
        mask_n = rn < N
        mask_k = rk < K
    rn64 = rn.to(tl.int64)
    rk64 = rk.to(tl.int64)

    acc = tl.full((BLOCK_N, BLOCK_K), 0.0, tl.float32)
    for m in range(start, end, BLOCK_M):
        rm = m + tl.arange(0, BLOCK_M)  # [BLOCK_M]
        mask_m = rm < end
        x_rows = rm
        dy_rows = rm
        if PERMUTE_X or PERMUTE_Y:
            slots = tl.load(gather_ptr + rm, mask=mask_m, other=0)
            if PERMUTE_X:
                x_rows = slots // x_divisor
            else:
                dy_rows = slots
        x_row_ptrs = x_ptr + x_rows.to(tl.int64) * stride_xm
        dy_row_ptrs = dy_ptr + dy_rows.to(tl.int64) * stride_dym
        if ALIGNED:
            x_ptrs = tl.multiple_of(x_row_ptrs[:, None] + rk[None, :], (16, 16))  # [BLOCK_M, BLOCK_K]
            dy_ptrs = tl.multiple_of(dy_row_ptrs[None, :] + rn[:, None], (16, 16))  # [BLOCK_N, BLOCK_M]
        else:
            x_ptrs = x_row_ptrs[:, None] + (rk64 * stride_xk)[None, :]
            dy_ptrs = dy_row_ptrs[None, :] + (rn64 * stride_dyn)[:, None]
        x = tl.load(x_ptrs, mask=mask_m[:, None] & mask_k[None, :], other=0.0)
        dy = tl.load(dy_ptrs, mask=mask_n[:, None] & mask_m[None, :], other=0.0)
        acc = tl.dot(dy, x, acc, input_precision="ieee")

    dw_row_ptrs = dw_ptr + e.to(tl.int64) * stride_we + rn64 * stride_wn
    if ALIGNED:
        dw_ptrs = tl.multiple_of(dw_row_ptrs[:, None] + rk[None, :], (16, 16))
    else:
        dw_ptrs = dw_row_ptrs[:, None] + (rk64 * stride_wk)[None, :]
    tl.store(dw_ptrs, acc.to(dw_ptr.dtype.element_ty), mask=mask_n[:, None] & mask_k[None, :])


def grouped_gemm_dw(
    x: torch.Tensor,  # [*, K]
    dy: torch.Tensor,  # [*, N]
    dw: torch.Tensor,  # [E, N, K], written whole
    m_sizes: torch.Tensor,  # [E] int32 or int64
    row_ends: torch.Tensor,  # [E] int32
    gather_indices: torch.Tensor | None,  # [M]
    *,
    permute_x: bool,
    permute_y: bool,
    x_divisor: int,
    config: KernelConfig,
) -> torch.Tensor:
    """Launch the kernel of this file and return ``dw``, every element of which has been written."""
    E, N, K = dw.shape
    _grouped_gemm_dw_kernel[(-(-N // config.block_n), -(-K // config.block_k), E)](
        x, dy, dw,
        row_ends if gather_indices is None else gather_indices,
        m_sizes, row_ends,
        N, K, x_divisor,
        x.stride(0), x.stride(1), dy.stride(0), dy.stride(1), dw.stride(0), dw.stride(1), dw.stride(2),
        PERMUTE_X=permute_x, PERMUTE_Y=permute_y, ALIGNED=config.aligned,
        BLOCK_M=config.block_m, BLOCK_N=config.block_n, BLOCK_K=config.block_k,
        num_warps=config.num_warps, num_stages=config.num_stages,
    )  # fmt: skip
    return dw
