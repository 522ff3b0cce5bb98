"""dw[e, n, k] = sum_{m: e(m) = e} dy[dy_row(m), n] * x[x_row(m), k], through the tensor memory accelerator of Hopper and later GPUs.

It computes the same as dw.py, with the same shapes and rows, if all rows start on 16 bytes:

    x [*, K]   dy [*, N]   dw [E, N, K] in the type of the buffer, accumulated in float32   gather_indices [M] int32 or int64

Program (i, j, e) owns rows i*BLOCK_N + [0, BLOCK_N) and columns j*BLOCK_K + [0, BLOCK_K) of expert e, and walks that expert's rows
[row_ends[e] - m_sizes[e], row_ends[e]) in steps of BLOCK_M. An expert without rows takes no step and stores zeros.
Operands that are not gathered are loaded as ragged boxes, which the hardware fills with zeros after the expert's last row
(triton.tools.ragged_tma) and beyond N and K, without masks. Masks of gathered ones: m < row_ends[e] with other=0, and k < K or n < N by
groups of 8.
"""

from __future__ import annotations

import torch
import triton.language as tl

from .. import launching, triton_interpreter
from ..kernel_config import KernelConfig
from .tma_boxes import boxes, load_ragged, ragged_boxes

triton_interpreter.repair()


@launching.jit(
    do_not_specialize=["x_ptr", "dy_ptr", "gather_ptr", "m_sizes_ptr", "row_ends_ptr", "N", "K", "x_divisor", "stride_xm", "stride_dym"]
)
def _grouped_gemm_dw_tma_kernel(
    x_ragged,  # boxes [BLOCK_M, BLOCK_K]
    x_ptr,
    dy_ragged,  # boxes [BLOCK_M, BLOCK_N]
    dy_ptr,
    dw_desc,  # boxes [1, BLOCK_N, BLOCK_K]
    gather_ptr,
    m_sizes_ptr,
    row_ends_ptr,
    N: tl.int32,
    K: tl.int32,
    x_divisor: tl.int32,
    stride_xm: tl.int64,
    stride_dym: tl.int64,
    PERMUTE_X: tl.constexpr,
    PERMUTE_Y: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    e = tl.program_id(2)
    n = tl.program_id(1) * BLOCK_N
    k = tl.program_id(0) * BLOCK_K
    end = tl.load(row_ends_ptr + e)
    size = tl.load(m_sizes_ptr + e).to(tl.int32)
    start = end - size

    acc = tl.full((BLOCK_N, BLOCK_K), 0.0, tl.float32)
    for m in range(0, size, BLOCK_M):
        if PERMUTE_X or PERMUTE_Y:
            rm = start + m + tl.arange(0, BLOCK_M)  # [BLOCK_M]
            mask_m = rm < end
            slots = tl.load(gather_ptr + rm, mask=mask_m, other=0)
        if PERMUTE_X:
            rk = k + tl.arange(0, BLOCK_K)  # [BLOCK_K]
            x_ptrs = (x_ptr + (slots // x_divisor).to(tl.int64) * stride_xm)[:, None] + rk[None, :]
            x = tl.load(tl.multiple_of(x_ptrs, (16, 16)), mask=mask_m[:, None] & (rk // 8 * 8 < K)[None, :], other=0.0)
        else:
            x = load_ragged(x_ragged, start, size, m, k, BLOCK_M, BLOCK_K)
        if PERMUTE_Y:
            rn = n + tl.arange(0, BLOCK_N)  # [BLOCK_N]
            dy_ptrs = (dy_ptr + slots.to(tl.int64) * stride_dym)[:, None] + rn[None, :]
            dy = tl.load(tl.multiple_of(dy_ptrs, (16, 16)), mask=mask_m[:, None] & (rn // 8 * 8 < N)[None, :], other=0.0)
        else:
            dy = load_ragged(dy_ragged, start, size, m, n, BLOCK_M, BLOCK_N)
        acc = tl.dot(dy.T, x, acc, input_precision="ieee")
    dw_desc.store([e, n, k], acc.to(dw_desc.dtype).reshape(1, BLOCK_N, BLOCK_K))


def grouped_gemm_dw_tma(
    x: torch.Tensor,  # [*, K]
    dy: torch.Tensor,  # [*, N]
    dw: torch.Tensor,  # [E, N, K], contiguous, written whole
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
    if x.shape[0] == 0:
        return dw.zero_()  # a box needs rows
    block_m, block_n, block_k = config.block_m, config.block_n, config.block_k
    _grouped_gemm_dw_tma_kernel[(-(-K // block_k), -(-N // block_n), E)](
        None if permute_x else ragged_boxes(x, block_m, block_k), x,
        None if permute_y else ragged_boxes(dy, block_m, block_n), dy,
        boxes(dw, 1, block_n, block_k),
        row_ends if gather_indices is None else gather_indices,
        m_sizes, row_ends, N, K, x_divisor, x.stride(0), dy.stride(0),
        PERMUTE_X=permute_x, PERMUTE_Y=permute_y, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k,
        num_warps=config.num_warps, num_stages=config.num_stages,
    )  # fmt: skip
    return dw
