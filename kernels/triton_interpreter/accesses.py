"""Show the accesses of kernels under Triton's interpreter to watchers: every load, store and atomic with its addresses, and launches.

Plain pointers, block pointers and tensor descriptors all use the few methods of ``WRAPPED``; nothing else of Triton is changed, here and
in ``launches.py``. A watcher may clear lanes of an access: these are then not executed, so that a stray store is detected and the process
continues.

The masked lanes of a ``tl.load`` without ``other`` are undefined on a GPU, and were 0 here. Now every bit of them is set (NaN or -1),
unless a watcher asks for a number: a kernel that never uses them is not affected, and one that does is detected.
"""

from __future__ import annotations

import functools
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import triton
import triton.language as tl

if TYPE_CHECKING:
    from .launches import Launch

VERSIONS = "3.6 to 3.9"
WRAPPED = {  # of triton.runtime.interpreter: the parameters that are used, in this order; later ones differ between releases
    "InterpreterBuilder.set_grid_dim": ("self", "nx", "ny", "nz"),
    "InterpreterBuilder.set_grid_idx": ("self", "x", "y", "z"),
    "InterpreterBuilder.create_masked_load": ("self", "ptrs", "mask", "other"),
    "InterpreterBuilder.create_masked_store": ("self", "ptrs", "value", "mask"),
    "InterpreterBuilder.create_atomic_rmw": ("self", "rmwOp", "ptr", "val", "mask", "sem", "scope"),
    "InterpreterBuilder.create_atomic_cas": ("self", "ptr", "cmp", "val", "sem", "scope"),
    "GridExecutor.__call__": ("self", "args_dev"),
}
WRAPPED_SINCE_3_9 = {  # they end in a masked load or store
    "InterpreterBuilder.create_atomic_load": ("self", "ptr", "mask", "sem", "scope"),
    "InterpreterBuilder.create_atomic_store": ("self", "ptr", "val", "mask", "sem", "scope"),
    "InterpreterBuilder.create_atomic_poll": ("self", "ptr", "expected", "timeout_ns", "sem", "scope"),
}


_TRITON = Path(triton.__file__).parent
_INSIDE = (str(_TRITON / "runtime"), str(_TRITON / "language"), str(Path(__file__).parent))
_is_inside: dict[CodeType, bool] = {}


def is_inside(code: CodeType) -> bool:
    """Return whether a function is Triton's own or a wrapper of ours, rather than a kernel's."""
    inside = _is_inside.get(code)
    if inside is None:
        inside = _is_inside[code] = code.co_filename.startswith(_INSIDE)
    return inside


Program = tuple[int, int, int]


class Line(NamedTuple):
    """A line of a kernel, or of a function that it calls."""

    file: str
    function: str
    number: int


@dataclass(slots=True, eq=False)
class Access:
    """One ``tl.load``, ``tl.store`` or ``tl.atomic_*`` of one program, before it happens."""

    addresses: np.ndarray  # [lanes] uint64
    active: np.ndarray  # [lanes] bool: where the mask is true
    width: int  # bytes of an element
    reads: bool
    writes: bool
    program: Program
    undefined: bool = False  # a load without ``other``
    number: bool = False  # what a masked lane of such a load holds: a number, or else every bit set
    atomic: bool = False  # with respect to other programs: False under scope="cta"
    acquires: bool = False
    releases: bool = False
    frame: FrameType | None = None
    is_cut: bool = False  # a watcher has cleared lanes

    def leave_out(self, lanes: np.ndarray) -> None:
        """Clear lanes, given by their numbers, so that they are not executed."""
        self.active, self.is_cut = self.active.copy(), True
        self.active[lanes] = False

    @property
    def line(self) -> Line:
        """The line of the innermost kernel function that makes the access."""
        frame = self.frame
        while frame is not None:
            code = frame.f_code
            if not is_inside(code):
                return Line(code.co_filename, code.co_name, frame.f_lineno)
            frame = frame.f_back
        raise AssertionError("no kernel is being interpreted")

    @property
    def kind(self) -> str:
        return "atomic" if self.atomic or (self.reads and self.writes) else "store" if self.writes else "load"


class Watcher:
    """Receives the launches and accesses of kernels while it is in ``watchers``."""

    def begin(self, launch: Launch) -> None:
        """Be called before the first program of a launch."""

    def access(self, access: Access) -> None:
        """Be called before an access."""

    def end(self, _launch: Launch, *, finished: bool) -> None:
        """Be called after the last program; ``finished`` is False if one raised."""


watchers: list[Watcher] = []  # of the process: a target may launch in threads of its own, and nothing of the harness is imported here
_atomic: list[str] = []  # the semantics of the present atomic load or store of Triton 3.9


def missing(interpreter: Any) -> list[str]:
    """Return the wrapped names that this release of Triton does not have."""
    return [name for name in WRAPPED if not hasattr(getattr(interpreter, name.split(".", maxsplit=1)[0], None), name.split(".")[1])]


def install(interpreter: Any) -> None:
    """Wrap the accesses of Triton's interpreter, once. Raises ImportError if this release of Triton cannot be watched."""
    if lacking := missing(interpreter):
        raise ImportError(f"Triton {triton.__version__} has no {', '.join(lacking)}: its memory accesses can be watched from {VERSIONS}")
    builder = interpreter.InterpreterBuilder
    builder.create_masked_load = _load(builder.create_masked_load, interpreter)
    builder.create_masked_store = _store(builder.create_masked_store, interpreter)
    builder.create_atomic_rmw = _atomic_rmw(builder.create_atomic_rmw, interpreter)
    builder.create_atomic_cas = _atomic_cas(builder.create_atomic_cas, interpreter)
    for name in ("create_atomic_load", "create_atomic_store", "create_atomic_poll"):
        if hasattr(builder, name):
            setattr(builder, name, _named_atomic(getattr(builder, name)))


def _show(self: Any, ptrs: Any, active: np.ndarray, **facts: Any) -> Access:
    semantics = facts.pop("semantics", _atomic[-1] if _atomic else None)
    order = {"acquires": "acq" in semantics, "releases": "rel" in semantics.replace("relaxed", ""), "atomic": True} if semantics else {}
    width = max(1, ptrs.get_element_ty().primitive_bitwidth // 8)
    access = Access(np.ravel(ptrs.data), np.ravel(active), width, program=self.grid_idx, frame=sys._getframe(2), **facts, **order)
    for watcher in watchers:
        watcher.access(access)
    return access


def _semantics(sem: Any, scope: Any) -> str:
    """Return the memory semantics of an atomic with respect to other programs; "" if it is not atomic for them."""
    return "" if scope.name == "CTA" else sem.name.lower()


def _lanes(mask: Any, ptrs: Any) -> np.ndarray:
    """Return a mask as booleans of the pointers' shape; for block pointers and, until 3.7, for descriptors it is an array already."""
    data = mask if isinstance(mask, np.ndarray) else mask.data
    return (data if data.shape == ptrs.data.shape else np.broadcast_to(data, ptrs.data.shape)).astype(bool, copy=False)


def _mask(mask: Any, access: Access | None, ptrs: Any, interpreter: Any) -> Any:
    """Return the mask without cleared lanes; Triton 3.9 rejects a scalar condition, which the interpreter represents as integers."""
    data = mask if isinstance(mask, np.ndarray) else mask.data
    if data.dtype == np.bool_ and not (access and access.is_cut):
        return mask
    return interpreter.TensorHandle(access.active.reshape(ptrs.data.shape) if access else _lanes(mask, ptrs), tl.int1)


def _load(create_masked_load: Any, interpreter: Any) -> Any:
    @functools.wraps(create_masked_load)
    def watched(self: Any, ptrs: Any, mask: Any, other: Any, *args: Any, **kwargs: Any) -> Any:
        active, number = _lanes(mask, ptrs), False
        if watchers:
            access = _show(self, ptrs, active, reads=True, writes=False, undefined=other is None)
            mask, active, number = _mask(mask, access, ptrs, interpreter), access.active.reshape(ptrs.data.shape), access.number
        else:
            mask = _mask(mask, None, ptrs, interpreter)
        if other is None and not active.all():
            element = ptrs.get_element_ty()
            other = interpreter.TensorHandle(_undefined(interpreter._get_np_dtype(element), ptrs.data.shape, number=number), element)
        return create_masked_load(self, ptrs, mask, other, *args, **kwargs)

    return watched


def _undefined(dtype: np.dtype, shape: tuple[int, ...], *, number: bool) -> np.ndarray:
    """Return values for masked lanes. A number is finite and large, but small enough as the end of a loop: at most 31611 as an integer.

    >>> [_undefined(np.dtype(dtype), (1,), number=True).item() for dtype in ("float16", "int8", "int64", "bool")]
    [61280.0, 123, 31611, False]
    """
    if number and dtype.kind != "f":
        return np.full(shape, 0 if dtype.kind == "b" else 0x7B if dtype.itemsize == 1 else 0x7B7B, dtype)
    return np.full(math.prod(shape) * dtype.itemsize, 0x7B if number else 0xFF, np.uint8).view(dtype).reshape(shape)


def _store(create_masked_store: Any, interpreter: Any) -> Any:
    @functools.wraps(create_masked_store)
    def watched(self: Any, ptrs: Any, value: Any, mask: Any, *args: Any, **kwargs: Any) -> Any:
        access = _show(self, ptrs, _lanes(mask, ptrs), reads=False, writes=True) if watchers else None
        mask = _mask(mask, access, ptrs, interpreter)
        return create_masked_store(self, ptrs, value, mask, *args, **kwargs)

    return watched


def _atomic_rmw(create_atomic_rmw: Any, interpreter: Any) -> Any:
    @functools.wraps(create_atomic_rmw)
    def watched(self: Any, op: Any, ptr: Any, val: Any, mask: Any, sem: Any, *args: Any) -> Any:
        if watchers:
            reads = op != interpreter._ir.ATOMIC_OP.XCHG  # an exchange may be used only to write
            access = _show(self, ptr, _lanes(mask, ptr), reads=reads, writes=True, semantics=_semantics(sem, args[0]))
            mask = _mask(mask, access, ptr, interpreter)
        return create_atomic_rmw(self, op, ptr, val, mask, sem, *args)

    return watched


def _atomic_cas(create_atomic_cas: Any, interpreter: Any) -> Any:
    @functools.wraps(create_atomic_cas)
    def watched(self: Any, ptr: Any, cmp: Any, val: Any, sem: Any, *args: Any) -> Any:
        if watchers:
            writes = not np.array_equal(cmp.data, val.data)  # else it is an atomic load
            access = _show(self, ptr, np.ones(ptr.data.shape, bool), reads=True, writes=writes, semantics=_semantics(sem, args[0]))
            if access.is_cut:  # there is no mask: cleared lanes work on a dummy cell
                cells = np.zeros(ptr.data.size, np.uint64)
                elsewhere = cells.ctypes.data + 8 * np.arange(ptr.data.size, dtype=np.uint64)
                addresses = np.where(access.active, access.addresses, elsewhere).reshape(ptr.data.shape)
                return create_atomic_cas(self, interpreter.TensorHandle(addresses, ptr.dtype), cmp, val, sem, *args)
        return create_atomic_cas(self, ptr, cmp, val, sem, *args)

    return watched


def _named_atomic(create: Any) -> Any:
    @functools.wraps(create)
    def watched(self: Any, *args: Any) -> Any:
        _atomic.append(_semantics(*args[-2:]))
        try:
            return create(self, *args)
        finally:
            _atomic.pop()

    return watched
