"""Triton's CPU interpreter: selected if there is no GPU, and repaired so that bfloat16 kernels compute the same as on one.

Ten faults of Triton 3.6 to 3.9 are repaired here, for every kernel of the process:

- ``tl.dot`` of bfloat16 multiplied the bit patterns; it now multiplies the values.
- Arithmetic, comparisons, reductions and scans of bfloat16 worked on the bit patterns; they now go through float32 and round to nearest.
- A Python number with a tensor of bfloat16, ``2 * x``, was rejected; it is now rounded to nearest.
- ``tl.atomic_add`` of bfloat16 was rejected; each lane now adds its value and rounds to nearest.
- Casts to bfloat16 truncated, and casts between bfloat16 and integers or float64 reinterpreted bits; they now go through float32 and
  round to nearest, ties to even.
- ``range(n)`` with a run-time n failed on Triton 3.6 with numpy 2.4 and later.
- An argument that is annotated as an integer type, ``stride: tl.int64``, had the type of its value; it now has its own.
- Triton's own helpers, ``tl.cdiv``, ``tl.zeros``, ``tl.max``, could not be called if triton was imported before the interpreter was
  selected, as transformers imports it; they are now interpreted like any kernel, and so are those of ``triton.tools.ragged_tma``.
- A kernel that ``triton.jit`` made before the interpreter was selected, as in a test that imports its kernel first, needed a GPU's driver;
  it is now interpreted like any other. ``triton.autotune`` needed a driver to measure with; it now takes its first config.

The first five are in ``bfloat16.py``. ``accesses.py`` fills the masked lanes of a ``tl.load`` without ``other``, and shows the accesses of
kernels to watchers; ``launches.py`` shows launches.

Four costs are removed as well, without a change of results: the check of integer overflow, which the interpreter computes and then drops
(it asserts under ``debug`` alone), a table that it rebuilt for every operation, the patches of ``triton.language``, which every call of
a helper made again, and the types and shapes of tensors, which every operation made again: a third of its time.

Tests compare each change with torch.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import triton.language as tl
from triton.runtime.autotuner import Autotuner
from triton.runtime.jit import JITFunction

from . import accesses, bfloat16, launches

_repaired = False


@functools.cache  # as ``triton.jit`` looks at it
def in_force() -> bool:
    """Return whether Triton kernels of this process run under the interpreter: TRITON_INTERPRET=1, which is set here without a GPU."""
    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")
    return os.environ.get("TRITON_INTERPRET") == "1"


def repair() -> None:
    """Select the interpreter if there is no GPU, and repair it once; call this before the first ``triton.jit``, which reads the choice."""
    global _repaired
    if _repaired or not in_force():
        return
    from triton.runtime import interpreter
    from triton.tools import ragged_tma  # noqa: F401  # its helpers are repaired as well

    bfloat16.install(interpreter)
    interpreter._patch_lang_tensor = _index_of_one_element(interpreter._patch_lang_tensor)
    interpreter._patch_lang = _patched_once(interpreter._patch_lang, interpreter._MISSING)
    interpreter.GridExecutor.__call__ = _with_annotated_integers(interpreter.GridExecutor.__call__)
    interpreter._implicit_cvt = _of_annotated_type(interpreter._implicit_cvt, interpreter.TensorHandle)
    shared = interpreter.interpreter_builder
    shared.options = dataclasses.replace(shared.options, sanitize_overflow=shared.options.debug)
    interpreter._get_np_dtype = _table_kept(interpreter._get_np_dtype)
    tl.block_type.__init__ = _types_kept(tl.block_type.__init__)
    tl.tensor.__init__ = _shapes_kept(tl.tensor.__init__)
    accesses.install(interpreter)
    launches.install(interpreter)
    _interpret_helpers(interpreter.InterpretedFunction)
    _interpret_what_was_compiled(interpreter.InterpretedFunction)
    Autotuner.do_bench = property(lambda _: _no_measurement)
    Autotuner.check_disk_cache = lambda _self, _key, _configs, measure: measure() or False
    _repaired = True


def _interpret_what_was_compiled(interpreted: Any) -> None:
    """Make every existing ``JITFunction`` run under the interpreter, as a kernel and as a helper of one.

    Functions of Gluon are left unchanged, since the interpreter does not support Gluon.
    """

    def of(function: Any) -> Any:
        if _INTERPRETED not in vars(function):
            setattr(function, _INTERPRETED, interpreted(function.fn))
            vars(function)[_INTERPRETED].pre_run_hooks = function.pre_run_hooks
        return vars(function)[_INTERPRETED]

    def run(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        runs = functools.partial(compiled, self) if self.is_gluon() else of(self).run
        return runs(*args, grid=grid, warmup=warmup, **kwargs)

    compiled = JITFunction.run
    JITFunction.run = run
    JITFunction.__call__ = lambda self, *args, **kwargs: of(self)(*args, **kwargs)


def _no_measurement(_kernel_call: Any, quantiles: Any = (0.5, 0.2, 0.8)) -> list[float]:
    """Return the same time for every config, in place of a benchmark."""
    return [0.0] * len(quantiles)


def _interpret_helpers(interpreted: Any) -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith(("triton.language", "triton.tools.ragged_tma")):
            for helper, function in list(vars(module).items()):
                if type(function) is JITFunction:
                    setattr(module, helper, interpreted(function.fn))
    for method, function in list(vars(tl.tensor).items()):
        if type(function) is JITFunction:
            setattr(tl.tensor, method, functools.partialmethod(_called, interpreted(function.fn)))


def _called(tensor: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
    return function(tensor, *args, **kwargs)


def _index_of_one_element(patch_lang_tensor: Any) -> Any:
    @functools.wraps(patch_lang_tensor)
    def repaired(tensor: Any, *args: Any, **kwargs: Any) -> None:
        patch_lang_tensor(tensor, *args, **kwargs)
        tensor.__index__ = lambda self: int(self.handle.data.squeeze())

    return repaired


def _patched_once(patch_lang: Any, missing: object) -> Any:
    """Return a ``_patch_lang`` that does not patch modules again that an enclosing launch has patched already.

    The patches of a launch are computed once for each set of modules, and again if one of them has changed since. A helper also patches
    ``tl.core``, which Triton does not restore after the helper: it is patched once.
    """
    patched: list[object] = []
    left: list[object] = []  # by helpers
    known: dict[tuple[int, ...], _Patches] = {}

    @functools.wraps(patch_lang)
    def repaired(function: Any) -> Any:
        modules = [module for module in function.__globals__.values() if module is tl or module is tl.core]
        if patched and modules and all(module in patched or module in left for module in modules):
            return SimpleNamespace(restore=lambda: None)
        before, key = list(patched), tuple(map(id, modules))
        if not before and key in known and known[key].fit():
            scope: Any = known[key]
            scope.apply()
        else:
            scope = patch_lang(function)
            if not before:
                known[key] = _Patches(scope._changes, missing)

        def restore() -> None:
            patched[:] = before
            if before:
                left[:] = [module for module in left if module not in modules]
            scope.restore()

        patched.extend(modules)
        if before:
            left.extend(modules)
        return SimpleNamespace(restore=restore)

    return repaired


class _Patches:
    """The changes of one call of ``_patch_lang``, which can be applied and undone repeatedly."""

    def __init__(self, changes: list[tuple[Any, str, Any]], missing: object) -> None:
        firsts = {(id(owner), name): (owner, name, original) for owner, name, original in reversed(changes)}
        self._changes = [(owner, name, original, vars(owner)[name]) for owner, name, original in firsts.values()]
        self._missing = missing  # what the original of a new name is
        new = Counter(owner for owner, _, original, _ in self._changes if original is missing)
        self._sizes = {owner: len(vars(owner)) - new[owner] for owner, *_ in self._changes}

    def fit(self) -> bool:
        """Return whether everything is as it was before the changes."""
        same_size = all(len(vars(owner)) == size for owner, size in self._sizes.items())
        return same_size and all(getattr(owner, name, self._missing) is original for owner, name, original, _ in self._changes)

    def apply(self) -> None:
        for owner, name, _, value in self._changes:
            setattr(owner, name, value)

    def restore(self) -> None:
        for owner, name, original, _ in self._changes:
            if original is self._missing:
                delattr(owner, name)
            else:
                setattr(owner, name, original)


class _Integer(int):
    """An integer argument of a kernel, with the type of its annotation."""

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


def _types_kept(init: Any) -> Any:
    known: dict[tuple[object, ...], dict[str, Any]] = {}

    @functools.wraps(init)
    def repaired(self: Any, element_ty: Any, shape: Any) -> None:
        key = (element_ty.name, getattr(element_ty, "address_space", None), *(getattr(size, "value", size) for size in shape))
        if key not in known:
            init(self, element_ty, shape)
            known[key] = vars(self) | {_KEPT: {}}
        vars(self).update(known[key])

    return repaired


def _shapes_kept(init: Any) -> Any:
    scalars: dict[str, Any] = {}

    @functools.wraps(init)
    def repaired(self: Any, handle: Any, type: Any) -> None:  # noqa: A002
        kept = vars(type)[_KEPT] if type.is_block() else scalars
        if not kept:
            init(self, handle, type)
            kept.update((name, value) for name, value in vars(self).items() if name not in ("handle", "type", "dtype"))
        vars(self).update(kept, handle=handle, type=type, dtype=type.scalar)

    return repaired


_KEPT, _INTERPRETED = "_moefuzz_kept", "_moefuzz_interpreted"
