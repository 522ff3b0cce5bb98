"""Repair bfloat16 under Triton's interpreter, which stores it as bit patterns (uint16), so that it computes the same as on a GPU.

The package's docstring lists the faults; tests compare each change with torch.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np
import triton.language as tl


def install(interpreter: Any) -> None:
    """Repair bfloat16 in Triton's interpreter, once."""
    builder, handle = interpreter.InterpreterBuilder, interpreter.TensorHandle
    builder.create_dot = _dot_of_values(builder.create_dot, handle)
    builder.cast_impl = _cast_through_float32(builder.cast_impl, handle)
    for name in ("unary_op", "binary_op", "ternary_op", "create_fma"):
        setattr(builder, name, _op_of_values(getattr(builder, name), handle))
    for reductions in (interpreter.ReduceOps, interpreter.ScanOps):
        reductions.apply_impl = _reduction_of_values(reductions.apply_impl, handle)
    builder.create_atomic_rmw = _atomic_add_of_values(builder.create_atomic_rmw, interpreter)
    builder.get_bf16 = lambda _, value: handle(float32_to_bfloat16(np.array([value], np.float32)), tl.bfloat16)


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """Return the exact float32 values of bfloat16 bit patterns (uint16).

    >>> bfloat16_to_float32(np.array([0x3F80, 0xC000], np.uint16)).tolist()
    [1.0, -2.0]
    """
    values: np.ndarray = np.left_shift(bits, 16, dtype=np.uint32).view(np.float32)
    return values


def float32_to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Return the bfloat16 bit patterns (uint16) nearest to float32 values, ties to even; every NaN becomes 0x7FFF or 0xFFFF.

    >>> [hex(bits) for bits in float32_to_bfloat16(np.array([1.9999, 1.00390625], np.float32))]
    ['0x4000', '0x3f80']
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    return np.where(np.isnan(values), (bits >> 16) | 0x7FFF, rounded).astype(np.uint16)


def _dot_of_values(create_dot: Any, handle: Any) -> Any:
    @functools.wraps(create_dot)
    def repaired(self: Any, a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
        return create_dot(self, _as_float32(a, handle), _as_float32(b, handle), *args, **kwargs)

    return repaired


def _op_of_values(operate: Any, handle: Any) -> Any:
    @functools.wraps(operate)
    def repaired(self: Any, *args: Any) -> Any:
        operands = [each for each in args if isinstance(each, handle)]
        if np.where in args or not any(operand.dtype.scalar == tl.bfloat16 for operand in operands):  # np.where works on bit patterns too
            return operate(self, *args)
        result = operate(self, *(_as_float32(each, handle) if isinstance(each, handle) else each for each in args)).data
        if result.dtype == np.bool_:
            return handle(result, tl.int1)  # a comparison
        return handle(float32_to_bfloat16(result) if result.dtype == np.float32 else result, tl.bfloat16)

    return repaired


def _as_float32(operand: Any, handle: Any) -> Any:
    return handle(bfloat16_to_float32(operand.data), tl.float32) if operand.dtype.scalar == tl.bfloat16 else operand


def _reduction_of_values(reduce: Any, handle: Any) -> Any:
    def retyped(tensor: Any, data: np.ndarray, dtype: tl.dtype) -> Any:
        return tl.tensor(handle(data, dtype), tl.block_type(dtype, tensor.shape) if tensor.shape else dtype)

    @functools.wraps(reduce)
    def repaired(self: Any, operands: Any) -> Any:
        were = [operand.handle.dtype.scalar == tl.bfloat16 for operand in operands]
        if not any(were):
            return reduce(self, operands)
        values = [
            retyped(operand, bfloat16_to_float32(operand.handle.data), tl.float32) if was else operand
            for operand, was in zip(operands, were, strict=True)
        ]
        results = reduce(self, tuple(values))
        several = results if isinstance(results, list | tuple) else (results,)
        return tuple(  # an index of a maximum is not bfloat16
            retyped(result, float32_to_bfloat16(result.handle.data), tl.bfloat16)
            if result.handle.dtype.scalar == tl.float32 and was
            else result
            for result, was in zip(several, were, strict=False)
        )

    return repaired


def _atomic_add_of_values(create_atomic_rmw: Any, interpreter: Any) -> Any:
    @functools.wraps(create_atomic_rmw)
    def repaired(self: Any, op: Any, ptr: Any, val: Any, mask: Any, *args: Any) -> Any:
        if val.dtype.scalar != tl.bfloat16 or op != interpreter._ir.ATOMIC_OP.FADD:
            return create_atomic_rmw(self, op, ptr, val, mask, *args)
        addresses, masks, values = (np.ravel(each) for each in np.broadcast_arrays(ptr.data, mask.data, val.data))
        before = np.zeros(len(addresses), np.uint16)
        for n in np.flatnonzero(masks):  # one after the other, since two may share an address
            lane, cell = slice(n, n + 1), ctypes.c_uint16.from_address(int(addresses[n]))
            before[n] = cell.value
            cell.value = int(float32_to_bfloat16(bfloat16_to_float32(before[lane]) + bfloat16_to_float32(values[lane]))[0])
        return interpreter.TensorHandle(before.reshape(ptr.data.shape), tl.bfloat16)

    return repaired


def _cast_through_float32(cast_impl: Any, handle: Any) -> Any:
    @functools.wraps(cast_impl)
    def repaired(self: Any, src: Any, dst_type: Any) -> Any:
        source, target = src.dtype.scalar, dst_type.scalar
        if source == target or tl.bfloat16 not in (source, target):
            return cast_impl(self, src, dst_type)
        if source == tl.bfloat16:
            values = handle(bfloat16_to_float32(src.data), tl.float32)
            return values if target == tl.float32 else cast_impl(self, values, dst_type)
        values = src if source == tl.float32 else cast_impl(self, src, tl.float32)
        return handle(float32_to_bfloat16(values.data), tl.bfloat16)

    return repaired
