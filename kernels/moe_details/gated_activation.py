"""y[m, i] = act(x[m, i]) * x[m, I + i]: the operation between the two grouped GEMMs of an expert, and its gradient.

    x [M, 2I], its gate half first   y, dy [M, I]   dx [M, 2I]   computed in float32, each result rounded once
    dx[m, i]     = dy[m, i] * x[m, I + i] * act'(x[m, i])
    dx[m, I + i] = dy[m, i] * act(x[m, i])

    silu(g) = g s    silu'(g) = s (1 + g (1 - s))    s = 1 / (1 + exp(-g)), or exp(g) / (1 + exp(g)) where g < 0: no exponential overflows
    relu(g) = 0 and relu'(g) = 0 where g <= 0: a NaN stays NaN, and a factor of 0 never produces one

Program (t, j) owns rows t*BLOCK_M + [0, BLOCK_M) and, of each half, columns j*BLOCK_I + [0, BLOCK_I). Masks: m < M and i < I.
All are contiguous. Under ALIGNED the launcher has checked that their rows start on 16 bytes and that I is a multiple of 8.
Offsets are int64 before they meet a width.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from .. import launching, triton_interpreter
from .elementwise import check_dtype, is_aligned, tile_of

triton_interpreter.repair()

_FUNCTIONS = ((torch.nn.functional.silu, "silu"), (torch.relu, "relu"), (torch.nn.functional.relu, "relu"))
_NAMES = ["silu", "relu"]
_CLASSES = {
    "torch.nn.modules.activation.SiLU": "silu",
    "torch.nn.modules.activation.ReLU": "relu",
    "transformers.activations.SiLUActivation": "silu",
}


def act_name(act: object) -> str | None:
    """Return the name of an activation, a function or a module, for ``gated_activation``; None if it does not have it.

    >>> act_name(torch.relu), act_name(torch.nn.SiLU()), act_name(torch.nn.GELU())
    ('relu', 'silu', None)
    """
    for function, name in _FUNCTIONS:
        if act is function:
            return name
    return _CLASSES.get(f"{type(act).__module__}.{type(act).__qualname__}")


@triton.jit
def _sigmoid(x):
    small = tl.exp(-tl.abs(x))
    return tl.where(x < 0.0, small, 1.0) / (1.0 + small)


@triton.jit
def _tile(M, I, ALIGNED: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_I: tl.constexpr):
    """Return where the program's rows of y begin [BLOCK_M, 1], its columns [1, BLOCK_I], and the mask of both."""
    rm = (tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M))[:, None]
    ri = (tl.program_id(1) * BLOCK_I + tl.arange(0, BLOCK_I))[None, :]
    if ALIGNED:
        mask = (rm < M) & (ri // 8 * 8 < I)  # the same for multiples of 8, and known to be constant over 8 columns
    else:
        mask = (rm < M) & (ri < I)
    return rm * I, ri, mask


@launching.jit(do_not_specialize=["x_ptr", "y_ptr", "M", "I"])
def _gated_kernel(
    x_ptr,
    y_ptr,
    M: tl.int32,
    I: tl.int32,
    SILU: tl.constexpr,  # else ReLU
    ALIGNED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_I: tl.constexpr,
):
    rows, ri, mask = _tile(M, I, ALIGNED, BLOCK_M, BLOCK_I)
    y_ptrs = y_ptr + (rows + ri)  # [BLOCK_M, BLOCK_I]
    gate_ptrs = x_ptr + (rows * 2 + ri)
    up_ptrs = gate_ptrs + I
    if ALIGNED:
        y_ptrs = tl.multiple_of(y_ptrs, (16, 16))
        gate_ptrs = tl.multiple_of(gate_ptrs, (16, 16))
        up_ptrs = tl.multiple_of(up_ptrs, (16, 16))
    gate = tl.load(gate_ptrs, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(up_ptrs, mask=mask, other=0.0).to(tl.float32)
    if SILU:
        acted = gate * _sigmoid(gate)
    else:
        acted = tl.where(gate <= 0.0, 0.0, gate)
    tl.store(y_ptrs, (acted * up).to(y_ptr.dtype.element_ty), mask=mask)


@launching.jit(do_not_specialize=["x_ptr", "dy_ptr", "dx_ptr", "M", "I"])
def _gated_grad_kernel(
    x_ptr,
    dy_ptr,
    dx_ptr,
    M: tl.int32,
    I: tl.int32,
    SILU: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_I: tl.constexpr,
):
    rows, ri, mask = _tile(M, I, ALIGNED, BLOCK_M, BLOCK_I)
    dy_ptrs = dy_ptr + (rows + ri)  # [BLOCK_M, BLOCK_I]
    gates = rows * 2 + ri
    gate_ptrs = x_ptr + gates
    up_ptrs = gate_ptrs + I
    d_gate_ptrs = dx_ptr + gates
    d_up_ptrs = d_gate_ptrs + I
    if ALIGNED:
        dy_ptrs = tl.multiple_of(dy_ptrs, (16, 16))
        gate_ptrs = tl.multiple_of(gate_ptrs, (16, 16))
        up_ptrs = tl.multiple_of(up_ptrs, (16, 16))
        d_gate_ptrs = tl.multiple_of(d_gate_ptrs, (16, 16))
        d_up_ptrs = tl.multiple_of(d_up_ptrs, (16, 16))
    gate = tl.load(gate_ptrs, mask=mask, other=0.0).to(tl.float32)
    dy = tl.load(dy_ptrs, mask=mask, other=0.0).to(tl.float32)
    d_acted = dy * tl.load(up_ptrs, mask=mask, other=0.0).to(tl.float32)
    if SILU:
        sigmoid = _sigmoid(gate)
        acted = gate * sigmoid
        d_gate = d_acted * (sigmoid * (1.0 + gate * (1.0 - sigmoid)))
    else:
        dead = gate <= 0.0
        acted = tl.where(dead, 0.0, gate)
        d_gate = tl.where(dead, 0.0, d_acted)
    tl.store(d_gate_ptrs, d_gate.to(dx_ptr.dtype.element_ty), mask=mask)
    tl.store(d_up_ptrs, (dy * acted).to(dx_ptr.dtype.element_ty), mask=mask)


def gated_activation(
    first: torch.Tensor,  # [M, 2I], any strides
    act: str,  # "silu" or "relu"
) -> torch.Tensor:  # [M, I] in the dtype of ``first``
    """Return act(gate half) * up half, differentiable; no value is read on the host.

    Raises ValueError for another rank, an odd number of columns or another activation, TypeError for another dtype than float32, float16
    and bfloat16.
    """
    if first.dim() != 2 or first.shape[1] % 2:
        raise ValueError(f"first must have shape [M, 2I], got {tuple(first.shape)}")
    if act not in _NAMES:
        raise ValueError(f"act must be one of {_NAMES}, got {act!r}")
    check_dtype("first", first)
    y: torch.Tensor = _GatedActivation.apply(first, act == "silu")
    return y


class _GatedActivation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, silu: bool) -> torch.Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x)
        ctx.silu = silu
        M, I = x.shape[0], x.shape[1] // 2
        y = torch.empty(M, I, dtype=x.dtype, device=x.device)
        if y.numel():
            block_m, block_i = tile_of(I)
            grid = -(-M // block_m), -(-I // block_i)
            _gated_kernel[grid](x, y, M, I, SILU=silu, ALIGNED=is_aligned(I, x), BLOCK_M=block_m, BLOCK_I=block_i)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[Any, ...]:
        (x,), dy = ctx.saved_tensors, dy.contiguous()
        M, I = dy.shape
        dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        if dy.numel():
            block_m, block_i = tile_of(I)
            grid = -(-M // block_m), -(-I // block_i)
            _gated_grad_kernel[grid](x, dy, dx, M, I, SILU=ctx.silu, ALIGNED=is_aligned(I, x, dy), BLOCK_M=block_m, BLOCK_I=block_i)
        return dx, None
