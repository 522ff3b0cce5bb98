"""Triton's CPU interpreter: in force where there is no GPU, and repaired so that bfloat16 kernels mean under it what they mean on one.

Seven faults of Triton 3.6 to 3.9 are mended here, for every kernel of the process:

- ``tl.dot`` of bfloat16 multiplied the bit patterns; it now multiplies the values.
- Arithmetic, comparisons and reductions of bfloat16 worked on the bit patterns; they now go through float32 and round to nearest.
- ``tl.atomic_add`` of bfloat16 was refused; each lane now adds its value and rounds to nearest.
- Casts to bfloat16 truncated, and casts between bfloat16 and integers or float64 reinterpreted bits; they now go through float32 and
  round to nearest, ties to even.
- ``range(n)`` with a run-time n failed on Triton 3.6 with numpy 2.4 and later.
- An argument that is annotated as an integer type, ``stride: tl.int64``, had the type of its value; it now has its own.
- Triton's own helpers, ``tl.cdiv``, ``tl.zeros``, ``tl.max``, could not be called where triton was imported before the interpreter was
  chosen, as transformers imports it; they are now interpreted like any kernel.

``interpreter_events.py`` fills what a ``tl.load`` without ``other`` gives where its mask is false, and shows what kernels do to watchers;
``interpreter_launches.py`` shows launches.

Three costs are cut as well, without a change of meaning: the check of integer overflow, which the interpreter computes and then drops
(it asserts under ``debug`` alone), a table that it rebuilt for every operation, and the patches of ``triton.language``, which every call of
a helper made anew.

The tests hold each change against torch.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import os
import sys
from typing import Any

import numpy as np
import torch
import triton.language as tl
from triton.runtime.jit import JITFunction

from . import interpreter_events, interpreter_launches

_repaired = False


def in_force() -> bool:
    """Whether Triton kernels of this process run under the interpreter: TRITON_INTERPRET=1, which is set here where there is no GPU."""
    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")
    return os.environ.get("TRITON_INTERPRET") == "1"


def repair() -> None:
    """Choose the interpreter where there is no GPU, and mend it once; comes before the first ``triton.jit``, which looks at the choice."""
    global _repaired
    if _repaired or not in_force():
        return
    from triton.runtime import interpreter

    builder = interpreter.InterpreterBuilder
    builder.create_dot = _dot_of_values(builder.create_dot, interpreter.TensorHandle)
    builder.cast_impl = _cast_through_float32(builder.cast_impl, interpreter.TensorHandle)
    for name in ("unary_op", "binary_op", "ternary_op"):
        setattr(builder, name, _op_of_values(getattr(builder, name), interpreter.TensorHandle))
    for name in ("sum", "min_max"):
        setattr(interpreter.ReduceOps, name, _reduction_of_values(getattr(interpreter.ReduceOps, name), interpreter.TensorHandle))
    builder.create_atomic_rmw = _atomic_add_of_values(builder.create_atomic_rmw, interpreter)
    interpreter._patch_lang_tensor = _index_of_one_element(interpreter._patch_lang_tensor)
    interpreter._patch_lang = _patched_once(interpreter._patch_lang)
    interpreter.GridExecutor.__call__ = _with_annotated_integers(interpreter.GridExecutor.__call__)
    interpreter._implicit_cvt = _of_annotated_type(interpreter._implicit_cvt, interpreter.TensorHandle)
    shared = interpreter.interpreter_builder
    shared.options = dataclasses.replace(shared.options, sanitize_overflow=shared.options.debug)
    interpreter._get_np_dtype = _table_kept(interpreter._get_np_dtype)
    interpreter_events.install(interpreter)
    interpreter_launches.install(interpreter)
    _interpret_helpers(interpreter.InterpretedFunction)
    _repaired = True


def _interpret_helpers(interpreted: Any) -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("triton.language"):
            for helper, function in list(vars(module).items()):
                if type(function) is JITFunction:
                    setattr(module, helper, interpreted(function.fn))
    for method, function in list(vars(tl.tensor).items()):
        if type(function) is JITFunction:
            setattr(tl.tensor, method, functools.partialmethod(_called, interpreted(function.fn)))


def _called(tensor: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
    return function(tensor, *args, **kwargs)


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """The float32 values of bfloat16 bit patterns (uint16); exact.

    >>> bfloat16_to_float32(np.array([0x3F80, 0xC000], np.uint16)).tolist()
    [1.0, -2.0]
    """
    values: np.ndarray = np.left_shift(bits, 16, dtype=np.uint32).view(np.float32)
    return values


def float32_to_bfloat16(values: np.ndarray) -> np.ndarray:
    """The bfloat16 bit patterns (uint16) nearest to float32 values, ties to even; every NaN becomes 0x7FFF or 0xFFFF.

    >>> [hex(bits) for bits in float32_to_bfloat16(np.array([1.9999, 1.00390625], np.float32))]
    ['0x4000', '0x3f80']
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    return np.where(np.isnan(values), (bits >> 16) | 0x7FFF, rounded).astype(np.uint16)


def _dot_of_values(create_dot: Any, handle: Any) -> Any:
    def as_values(operand: Any) -> Any:
        if operand.dtype.scalar != tl.bfloat16:
            return operand
        return handle(bfloat16_to_float32(operand.data), tl.float32)

    @functools.wraps(create_dot)
    def repaired(self: Any, a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
        return create_dot(self, as_values(a), as_values(b), *args, **kwargs)

    return repaired


def _op_of_values(operate: Any, handle: Any) -> Any:
    @functools.wraps(operate)
    def repaired(self: Any, *args: Any) -> Any:
        *operands, op = args
        if op is np.where or not any(operand.dtype.scalar == tl.bfloat16 for operand in operands):  # a choice may be made among bits
            return operate(self, *args)
        values = [handle(bfloat16_to_float32(each.data), tl.float32) if each.dtype.scalar == tl.bfloat16 else each for each in operands]
        result = operate(self, *values, op).data
        return handle(float32_to_bfloat16(result) if result.dtype == np.float32 else result, tl.bfloat16)  # a comparison gives truths

    return repaired


def _reduction_of_values(reduce: Any, handle: Any) -> Any:
    def rounded(tensor: Any) -> Any:
        if tensor.dtype.scalar != tl.float32:
            return tensor  # the index of a maximum
        dtype = tl.block_type(tl.bfloat16, tensor.shape) if tensor.shape else tl.bfloat16
        return tl.tensor(handle(float32_to_bfloat16(tensor.handle.data), tl.bfloat16), dtype)

    @functools.wraps(reduce)
    def repaired(self: Any, operand: Any, *args: Any, **kwargs: Any) -> Any:
        if operand.dtype.scalar != tl.bfloat16:
            return reduce(self, operand, *args, **kwargs)
        values = tl.tensor(handle(bfloat16_to_float32(operand.handle.data), tl.float32), tl.block_type(tl.float32, operand.shape))
        result = reduce(self, values, *args, **kwargs)
        return tuple(map(rounded, result)) if isinstance(result, tuple) else rounded(result)

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


def _index_of_one_element(patch_lang_tensor: Any) -> Any:
    @functools.wraps(patch_lang_tensor)
    def repaired(tensor: Any, *args: Any, **kwargs: Any) -> None:
        patch_lang_tensor(tensor, *args, **kwargs)
        tensor.__index__ = lambda self: int(self.handle.data.squeeze())

    return repaired


def _patched_once(patch_lang: Any) -> Any:
    """A helper is called, and a launch runs again, inside of one that has patched the same modules already."""
    patched: list[object] = []

    @functools.wraps(patch_lang)
    def repaired(function: Any) -> Any:
        modules = [module for module in function.__globals__.values() if module is tl or module is tl.core]
        if modules and all(module in patched for module in modules):
            return _Unchanged
        scope, before = patch_lang(function), list(patched)
        restore = scope.restore

        def restored() -> None:
            patched[:] = before
            restore()

        patched.extend(modules)
        scope.restore = restored
        return scope

    return repaired


class _Unchanged:
    """Nothing to restore."""

    @staticmethod
    def restore() -> None:
        pass


class _Integer(int):
    """An integer argument of a kernel with the type of its annotation."""

    type: tl.dtype


_INTEGER_TYPES = {name: getattr(tl, name) for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")}


def _with_annotated_integers(call: Any) -> Any:
    @functools.wraps(call)
    def repaired(self: Any, *args: Any, **kwargs: Any) -> Any:
        annotations = {name: str(annotation).removeprefix("tl.") for name, annotation in self.fn.__annotations__.items()}

        def typed(name: str, value: Any) -> Any:
            if annotations.get(name) not in _INTEGER_TYPES or type(value) is not int:
                return value
            integer = _Integer(value)
            integer.type = _INTEGER_TYPES[annotations[name]]
            return integer

        positional = [typed(name, value) for name, value in zip(self.arg_names, args, strict=False)]
        return call(self, *positional, *args[len(positional) :], **{name: typed(name, value) for name, value in kwargs.items()})

    return repaired


def _of_annotated_type(implicit_cvt: Any, handle: Any) -> Any:
    @functools.wraps(implicit_cvt)
    def repaired(argument: Any) -> Any:
        if not isinstance(argument, _Integer):
            return implicit_cvt(argument)
        data = np.array([argument], dtype=np.dtype(argument.type.name))
        return tl.tensor(handle(data, argument.type), argument.type)

    return repaired


def _table_kept(get_np_dtype: Any) -> Any:
    known: dict[str, np.dtype] = {}

    @functools.wraps(get_np_dtype)
    def repaired(triton_type: Any) -> np.dtype:
        scalar = triton_type.scalar
        name = "pointer" if isinstance(scalar, tl.pointer_type) else scalar.name
        if name not in known:
            known[name] = get_np_dtype(scalar)
        return known[name]

    return repaired
