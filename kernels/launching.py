"""``launching.jit``: ``triton.jit`` with a faster lookup of the compiled variant, for kernels that are launched often.

Each launch through Triton determines from every argument which compiled variant of the kernel it needs. Kernels of this package never
depend on sizes, strides or addresses: a variant follows from the dtypes of tensors, the blocks of descriptors and the constants. These are
the key under which a variant that Triton has compiled is looked up; the rest of a launch is Triton's own, hooks included.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import triton
import triton.language as tl
from triton import knobs
from triton.compiler import CompiledKernel
from triton.experimental.gluon._runtime import GluonJITFunction
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from . import triton_interpreter

triton_interpreter.repair()


def jit(do_not_specialize: list[str]) -> Callable[[Callable[..., None]], Any]:
    """Decorate a kernel: tensors and integers in ``do_not_specialize``, integers annotated, constants last and passed by name.

    Under the interpreter this is ``triton.jit``. Raises TypeError for a parameter on whose value Triton would specialise.
    """
    if triton_interpreter.in_force():
        return triton.jit(do_not_specialize=do_not_specialize)  # type: ignore[no-any-return]
    return lambda function: _Kernel(function, do_not_specialize=do_not_specialize)


def gluon_jit(do_not_specialize: list[str]) -> Callable[[Callable[..., None]], Any]:
    """Decorate a kernel in Gluon, as ``jit`` does one in Triton; the interpreter does not run Gluon."""
    return lambda function: _GluonKernel(function, do_not_specialize=do_not_specialize)


class _Kernel(JITFunction[Any]):  # type: ignore[misc]  # Triton has no types
    def __init__(self, function: Callable[..., None], **options: Any) -> None:
        super().__init__(function, **options)
        inputs = [param for param in self.params if not param.is_constexpr]
        if inputs != self.params[: len(inputs)]:
            raise TypeError(f"constants must come last in {self}")
        for param in inputs:
            if not param.do_not_specialize and not param.name.endswith(_DESCRIPTOR):
                raise TypeError(f"{param.name} of {self} must stand in do_not_specialize, or be a descriptor and end in {_DESCRIPTOR}")
        self._inputs = len(inputs)
        self._tensors = [param.num for param in inputs if param.do_not_specialize and not param.annotation_type]
        self._descriptors = [param.num for param in inputs if not param.do_not_specialize]

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return functools.partial(self._launch, grid)

    def _launch(self, grid: tuple[int, ...], *args: Any, **constants: Any) -> Any:
        if self.pre_run_hooks or _compiles_otherwise() or len(args) != self._inputs:
            return self.run(*args, grid=grid, warmup=False, **constants)
        device = driver.active.get_current_device()
        variants: dict[Any, Any] = self.device_caches[device][1]  # Triton's own cache, so that clearing it also clears ours
        dtypes, blocks = [args[i].dtype for i in self._tensors], [_blocks(args[i]) for i in self._descriptors]
        key = (*dtypes, *blocks, *constants, *constants.values())
        found = variants.get(key)
        if found is None:
            kernel = self.run(*args, grid=grid, warmup=False, **constants)
            constant = all(isinstance(value, tl.constexpr) for value, _ in self.used_global_vals.values())  # else Triton looks each time
            if isinstance(kernel, CompiledKernel) and constant:
                variants[key] = kernel, [constants[param.name] for param in self.params[self._inputs :]]
            return kernel
        kernel, values = found
        kernel[(*grid, 1, 1)](*args, *values, stream=driver.active.get_current_stream(device))
        return kernel


class _GluonKernel(_Kernel, GluonJITFunction[Any]):  # type: ignore[misc]
    ...


_DESCRIPTOR = ("_desc", "_ragged")


def _compiles_otherwise() -> bool:
    """Return whether a setting is on that Triton includes in its own key."""
    runtime, compilation = knobs.runtime, knobs.compilation
    return bool(
        runtime.debug
        or compilation.instrumentation_mode
        or getattr(runtime, "add_stages_inspection_hook", None)
        or getattr(compilation, "fpsan_homomorphic_casts", None)
    )


def _blocks(descriptor: Any) -> object:
    return None if descriptor is None else (descriptor.base.dtype, *descriptor.block_shape)
