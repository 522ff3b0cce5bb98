"""out[t, h] = sum_j p(t, j) * x[row(t*topk + j), h]: the sum of the topk rows of a token, in float32, rounded once.

    x [*, H]   out [T, H]   slot g = t * topk + j
    p(t, j) = w[t, j] under WEIGHTED, else 1
    row(g)  = row_of_slot[g] under GATHER, else g; a row of -1 adds nothing, and no memory is read for it
    and the gradients   dx[row(g), h] = w[g] * dout[g // topk, h]   dw[g] = sum_h dout[g // topk, h] * x[row(g), h]
    rows_of_slots:      row_of_slot[gather_indices[r]] = r for r < sum(m_sizes), and -1 elsewhere

Program (t, j) of the sum owns tokens t*BLOCK_T + [0, BLOCK_T) and columns j*BLOCK_H + [0, BLOCK_H), and adds choice after choice: without
atomics, so that each call adds in the same order. A program of the gradient owns whole rows, slots i*BLOCK_G + [0, BLOCK_G), since dw is a
sum over all of h. Masks: t < T, g < T*topk, h < H, row >= 0, and r < sum(m_sizes), as gather_indices may hold anything from there on.
All are contiguous. Under ALIGNED the launcher has checked that their rows start on 16 bytes and that H is a multiple of 8.
Slots and offsets are int64 before they meet a width.
"""

from __future__ import annotations

from typing import Any

import torch
import triton.language as tl

from .. import launching, triton_interpreter
from ..grouped_gemm_details.tile_schedule import experts_block
from .elementwise import check_dtype, is_aligned, tile_of

triton_interpreter.repair()


@launching.jit(do_not_specialize=["x_ptr", "w_ptr", "row_of_slot_ptr", "out_ptr", "T", "H", "topk"])
def _sum_kernel(
    x_ptr,
    w_ptr,
    row_of_slot_ptr,
    out_ptr,
    T: tl.int32,
    H: tl.int32,
    topk: tl.int32,
    WEIGHTED: tl.constexpr,
    GATHER: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    rt = (tl.program_id(0).to(tl.int64) * BLOCK_T + tl.arange(0, BLOCK_T))[:, None]  # [BLOCK_T, 1]
    rh = (tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H))[None, :]  # [1, BLOCK_H]
    mask_t = rt < T
    mask_h = rh // 8 * 8 < H if ALIGNED else rh < H  # the same for multiples of 8, and known to be constant over 8 columns
    slots = rt * topk
    acc = tl.full((BLOCK_T, BLOCK_H), 0.0, tl.float32)
    for _ in tl.range(0, topk, loop_unroll_factor=4):
        if GATHER:
            rows = tl.load(row_of_slot_ptr + slots, mask=mask_t, other=-1).to(tl.int64)
            mask = (rows >= 0) & mask_h
        else:
            rows = slots
            mask = mask_t & mask_h
        x_ptrs = x_ptr + (rows * H + rh)  # [BLOCK_T, BLOCK_H]
        if ALIGNED:
            x_ptrs = tl.multiple_of(x_ptrs, (16, 16))
        x = tl.load(x_ptrs, mask=mask, other=0.0).to(tl.float32)
        if WEIGHTED:
            x = x * tl.load(w_ptr + slots, mask=mask_t, other=0.0).to(tl.float32)
        acc += x
        slots += 1
    out_ptrs = out_ptr + (rt * H + rh)
    if ALIGNED:
        out_ptrs = tl.multiple_of(out_ptrs, (16, 16))
    tl.store(out_ptrs, acc.to(out_ptr.dtype.element_ty), mask=mask_t & mask_h)


@launching.jit(do_not_specialize=["x_ptr", "w_ptr", "row_of_slot_ptr", "dout_ptr", "dx_ptr", "dw_ptr", "M", "H", "topk"])
def _weighted_sum_grad_kernel(
    x_ptr,
    w_ptr,
    row_of_slot_ptr,
    dout_ptr,
    dx_ptr,
    dw_ptr,
    M: tl.int32,
    H: tl.int32,
    topk: tl.int32,
    DX: tl.constexpr,  # which gradients are wanted
    DW: tl.constexpr,
    GATHER: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK_G: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    slots = (tl.program_id(0).to(tl.int64) * BLOCK_G + tl.arange(0, BLOCK_G))[:, None]  # [BLOCK_G, 1]
    mask_g = slots < M
    dout_rows = slots // topk * H
    if GATHER:
        x_rows = tl.load(row_of_slot_ptr + slots, mask=mask_g, other=0).to(tl.int64) * H
    else:
        x_rows = slots * H
    if DX:
        w = tl.load(w_ptr + slots, mask=mask_g, other=0.0).to(tl.float32)
    if DW:
        acc = tl.full((BLOCK_G, BLOCK_H), 0.0, tl.float32)
    for h in range(0, H, BLOCK_H):
        rh = (h + tl.arange(0, BLOCK_H))[None, :]  # [1, BLOCK_H]
        mask = mask_g & (rh // 8 * 8 < H if ALIGNED else rh < H)
        dout_ptrs = dout_ptr + (dout_rows + rh)  # [BLOCK_G, BLOCK_H]
        x_offsets = x_rows + rh
        if ALIGNED:
            dout_ptrs = tl.multiple_of(dout_ptrs, (16, 16))
        dout = tl.load(dout_ptrs, mask=mask, other=0.0).to(tl.float32)
        if DW:
            x_ptrs = tl.multiple_of(x_ptr + x_offsets, (16, 16)) if ALIGNED else x_ptr + x_offsets
            acc += dout * tl.load(x_ptrs, mask=mask, other=0.0).to(tl.float32)
        if DX:
            dx_ptrs = tl.multiple_of(dx_ptr + x_offsets, (16, 16)) if ALIGNED else dx_ptr + x_offsets
            tl.store(dx_ptrs, (dout * w).to(dx_ptr.dtype.element_ty), mask=mask)
    if DW:
        tl.store(dw_ptr + slots, tl.sum(acc, 1, keep_dims=True).to(dw_ptr.dtype.element_ty), mask=mask_g)


@launching.jit(do_not_specialize=["m_sizes_ptr", "gather_ptr", "row_of_slot_ptr", "M", "E"])
def _rows_of_slots_kernel(
    m_sizes_ptr,
    gather_ptr,
    row_of_slot_ptr,
    M: tl.int32,
    E: tl.int32,
    BLOCK_R: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    e = tl.arange(0, BLOCK_E)  # [BLOCK_E]
    owned = tl.sum(tl.load(m_sizes_ptr + e, mask=e < E, other=0), 0)
    rows = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)  # [BLOCK_R]
    mask = (rows < owned) & (rows < M)
    slots = tl.load(gather_ptr + rows, mask=mask, other=0)
    tl.store(row_of_slot_ptr + slots, rows, mask=mask)


def weighted_sum(
    rows: torch.Tensor,  # [T * topk, H], any strides: in flat-slot order, or in that of ``row_of_slot``
    weights: torch.Tensor,  # [T, topk], of any floating dtype
    row_of_slot: torch.Tensor | None = None,  # [T * topk] int32, contiguous: every row once
) -> torch.Tensor:  # [T, H] in the rows' dtype
    """Return the weighted sum of the rows of each token; differentiable in both, each gradient in the dtype of its input.

    Raises ValueError for shapes or devices that do not fit each other, TypeError for rows of another dtype than float32, float16 and
    bfloat16, or weights that are not floating point.
    """
    if rows.dim() != 2 or weights.dim() != 2 or rows.shape[0] != weights.numel():
        shapes = f"{tuple(rows.shape)} and {tuple(weights.shape)}"
        raise ValueError(f"rows and weights must have shapes [T * topk, H] and [T, topk], got {shapes}")
    if rows.device != weights.device:
        raise ValueError(f"weights must be on the rows' device {rows.device}, got {weights.device}")
    check_dtype("rows", rows)
    if not weights.is_floating_point():
        raise TypeError(f"weights must be floating point, got {weights.dtype}")
    out: torch.Tensor = _WeightedSum.apply(rows, weights, row_of_slot)
    return out


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor, row_of_slot: torch.Tensor | None) -> torch.Tensor:
        x, w = x.contiguous(), w.contiguous()
        ctx.save_for_backward(x, w, row_of_slot)
        return _summed(x, w, row_of_slot, w.shape[1], x.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dout: torch.Tensor) -> tuple[Any, ...]:
        (x, w, row_of_slot), dout = ctx.saved_tensors, dout.contiguous()
        wants_x, wants_w, _ = ctx.needs_input_grad
        M, H = x.shape
        dx = torch.empty_like(x) if wants_x else None
        dw = torch.empty_like(w) if wants_w else None
        if M:
            block_g, block_h = tile_of(H, 512)
            _weighted_sum_grad_kernel[(-(-M // block_g),)](
                x, w, x if row_of_slot is None else row_of_slot, dout, x if dx is None else dx, w if dw is None else dw, M, H, w.shape[1],
                DX=wants_x, DW=wants_w, GATHER=row_of_slot is not None, ALIGNED=is_aligned(H, x, dout), BLOCK_G=block_g, BLOCK_H=block_h,
            )  # fmt: skip
        return dx, dw, None


def sum_by_token(
    rows: torch.Tensor,  # [M, H] float32, contiguous
    row_of_slot: torch.Tensor,  # [T * topk] int32, contiguous
    topk: int,
    dtype: torch.dtype,
) -> torch.Tensor:  # [T, H] in ``dtype``
    """Return the sum of the rows of each token's slots; a slot without a row, -1, adds nothing. Not differentiable."""
    return _summed(rows, None, row_of_slot, topk, dtype)


def _summed(x: torch.Tensor, w: torch.Tensor | None, row_of_slot: torch.Tensor | None, topk: int, dtype: torch.dtype) -> torch.Tensor:
    H = x.shape[1]
    T = (x if row_of_slot is None else row_of_slot).shape[0] // topk
    out = torch.empty(T, H, dtype=dtype, device=x.device)
    if out.numel():
        block_t, block_h = tile_of(H)
        _sum_kernel[-(-T // block_t), -(-H // block_h)](
            x, x if w is None else w, x if row_of_slot is None else row_of_slot, out, T, H, topk,
            WEIGHTED=w is not None, GATHER=row_of_slot is not None, ALIGNED=is_aligned(H, x), BLOCK_T=block_t, BLOCK_H=block_h,
        )  # fmt: skip
    return out


def rows_of_slots(
    m_sizes: torch.Tensor,  # [E] int32, contiguous
    gather_indices: torch.Tensor,  # [M] int32, contiguous
) -> torch.Tensor:  # [M] int32
    """Invert gather_indices over the rows that experts own: the sorted row of each flat slot, and -1 where no row came from it."""
    M, E = gather_indices.numel(), m_sizes.numel()
    row_of_slot = torch.full((M,), -1, dtype=torch.int32, device=gather_indices.device)
    if M:
        _rows_of_slots_kernel[(-(-M // 256),)](m_sizes, gather_indices, row_of_slot, M, E, BLOCK_R=256, BLOCK_E=experts_block(E))
    return row_of_slot
