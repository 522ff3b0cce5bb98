"""The allocations of a target, between guard zones and poisoned.

``Allocations`` replaces ``torch.empty``, ``new_zeros`` and similar functions while a target runs, forward and backward, in any thread.
Their tensors lie between guard zones. Where torch promises no values, they start poisoned: floating types as NaN or -7, others as -1 or 0.
Memory that operators and C++ extensions allocate internally is not covered; on a GPU the caching allocator holds a few freed blocks full
of NaN for it. (A dispatch mode would cover no more, and would be called for every operator of every example.)

The replacement holds for the whole process, since a target may allocate in threads that it or autograd starts. Hence the ``Allocations`` in
force and ``allocation_watchers`` are globals of the process too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Self

import torch
from torch.utils import dlpack

from moefuzz.harness.base.case import Case
from moefuzz.harness.failures import ReadOutside, WroteOutside
from moefuzz.kernels.triton_interpreter.accesses import Access, Watcher, watchers

from .memory import GUARD, finite_poison, n_bytes
from .read_guards import ReadGuard

AROUND = {"cuda": 1 << 20, "cpu": 1 << 16}  # bytes on either side of an allocation

_full, _empty = torch.full, torch.empty
_FREED_BLOCKS = (1 << 12, 1 << 16, 1 << 20, 1 << 23)  # bytes


class Allocations(Watcher):
    """Context in which tensors allocated on ``device`` lie between guard zones and start with ``poison``, "nan" or "finite".

    ``allocation_watchers`` are called with each new tensor and its poison, None where it starts with values.
    """

    def __init__(self, device: torch.device, poison: str = "nan", *, watches_loads: bool = True) -> None:
        self._device, self._gap, self.poison, self._watches_loads = device, AROUND[device.type], poison, watches_loads
        self._buffers: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.read_guards: list[ReadGuard] = []
        self._stray: list[str] = []  # the place of the first load outside
        if device.type == "cuda":
            for size in _FREED_BLOCKS:
                torch.full((size,), GUARD, dtype=torch.uint8, device=device)

    def __enter__(self) -> Self:
        if not _in_force:
            for owner, name, _, replacement in _REPLACED:
                setattr(owner, name, replacement)
        _in_force.append(self)
        if self._watches_loads:
            watchers.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._watches_loads:
            watchers.remove(self)
        _in_force.remove(self)
        if not _in_force:
            for owner, name, original, _ in _REPLACED:
                setattr(owner, name, original)

    def _guarded(self, out: torch.Tensor, *, written: bool) -> torch.Tensor:
        plain = type(out) is torch.Tensor and out.device.type == self._device.type and out.layout == torch.strided
        if not plain or not out.numel() or out.requires_grad:
            return out
        size = n_bytes(out)
        buffer = _full((2 * self._gap + math.ceil(size / 16) * 16,), GUARD, dtype=torch.uint8, device=out.device)
        storage = _storage_of_its_own(buffer[self._gap : self._gap + size]).untyped_storage()
        inside = _empty(0, dtype=out.dtype, device=out.device).set_(storage, 0, out.shape, out.stride())
        if written:
            inside.copy_(out)
        elif self.poison == "finite":
            inside.fill_(finite_poison(out.dtype))
        held = inside.detach() if allocation_watchers else inside  # so that watchers can count references to ``inside``
        self._buffers.append((buffer, held))
        for watch in allocation_watchers:
            watch(held, None if written else self.poison)
        place = functools.partial(_beside, held, self._gap)
        self.read_guards.append(ReadGuard(buffer.data_ptr(), buffer.numel(), ((self._gap, self._gap + size),), place))
        return inside

    def access(self, access: Access) -> None:
        """Record the first load outside the bytes that may be read."""
        if access.kind != "load" or self._stray or not access.active.any():
            return
        addresses = access.addresses[access.active]
        for guard in self.read_guards:
            byte = guard.first_out_of_bounds(addresses, access.width)
            if byte is not None:
                self._stray.append(guard.place_of(byte))

    def raise_if_overrun(self, case: Case, target: str) -> None:
        """Raise WroteOutside or ReadOutside if the run stored or loaded outside an allocation."""
        __tracebackhide__ = True
        if overrun := self._overrun():
            raise WroteOutside(case, target, f"wrote outside: {overrun}")
        if self._stray:
            raise ReadOutside(case, target, f"read outside: {self._stray[0]}")

    def _overrun(self) -> str | None:
        """Return, as words, the place of the first store outside an allocation; None without one."""
        zones, rests = [], []  # words of 8 bytes, which take a tenth of the time to compare, and the bytes before the first word
        for buffer, inside in self._buffers:
            end = self._gap + n_bytes(inside)
            words = -(-end // 8) * 8
            zones += [buffer[: self._gap].view(torch.int64), buffer[words:].view(torch.int64)]
            rests += [buffer[end:words]] if end < words else []
        if not zones:
            return None
        hit = (torch.cat(zones) != -1).any()
        if rests:
            hit |= (torch.cat(rests) != GUARD).any()
        if not bool(hit):
            return None
        for buffer, inside in self._buffers:
            changed = (buffer != GUARD).cpu()
            changed[self._gap : self._gap + n_bytes(inside)] = False
            if changed.any():
                return _beside(inside, self._gap, int(changed.nonzero()[0]))
        return None


def _beside(inside: torch.Tensor, gap: int, byte: int) -> str:
    """Return, as words, where a byte of an allocation's buffer lies."""
    byte -= gap
    where = f"{-byte} bytes before" if byte < 0 else f"{byte - n_bytes(inside)} bytes behind"
    return f"{where} an allocation of {inside.dtype}, shape {tuple(inside.shape)}"


allocation_watchers: list[Callable[[torch.Tensor, str | None], None]] = []
_wrapped: Callable[[object], bool] = getattr(torch._C._functorch, "is_functorch_wrapped_tensor", lambda _: False)  # under vmap or grad
_in_force: list[Allocations] = []  # the replacements of torch's functions stay the same objects, so that torch.compile does not recompile


def _stand_in(original: Callable[..., torch.Tensor], *, written: bool) -> Callable[..., torch.Tensor]:
    @functools.wraps(original)
    def allocate(*args: Any, **keywords: Any) -> torch.Tensor:
        out = original(*args, **keywords)
        own = keywords.get("out") is None and not _wrapped(out)
        return _in_force[-1]._guarded(out, written=written) if _in_force and own else out

    return allocate


def _resize(tensor: torch.Tensor, *args: Any, **keywords: Any) -> torch.Tensor:
    if not tensor.untyped_storage().resizable():
        tensor.set_(tensor.clone())  # type: ignore[call-overload]  # a resized tensor gets memory outside its guard zones
    return _RESIZE(tensor, *args, **keywords)


_RESIZE = torch.Tensor.resize_
_UNWRITTEN = (
    (torch, "empty"),
    (torch, "empty_like"),
    (torch, "empty_strided"),
    (torch, "empty_permuted"),
    (torch.Tensor, "new_empty"),
    (torch.Tensor, "new_empty_strided"),
)
_WRITTEN = (
    *((torch, f"{value}{like}") for value in ("zeros", "ones", "full") for like in ("", "_like")),
    *((torch.Tensor, f"new_{value}") for value in ("zeros", "ones", "full")),
)
_REPLACED: list[tuple[Any, str, Any, Any]] = [
    *((owner, name, getattr(owner, name), _stand_in(getattr(owner, name), written=False)) for owner, name in _UNWRITTEN),
    *((owner, name, getattr(owner, name), _stand_in(getattr(owner, name), written=True)) for owner, name in _WRITTEN),
    (torch.Tensor, "resize_", _RESIZE, _resize),
]


def _storage_of_its_own(memory: torch.Tensor) -> torch.Tensor:
    """Return a tensor of the same bytes with a storage that begins there: autograd assumes that a new tensor has storage offset 0."""
    return dlpack.from_dlpack(memory)
