"""Memory that tells on a target: inputs in one arena, its own allocations poisoned, guard zones around both.

- ``Arena`` holds every input. All bytes that belong to none, stride gaps included, are 0xFF, a NaN in every floating type: an over-read
  shows in the result, a store outside shows in one comparison with a copy, and so does a changed input.
- ``Allocations`` stands in for ``torch.empty``, ``new_zeros`` and their kin while the target runs, forward and backward, in any thread:
  what they give lies between guard zones too, and starts poisoned where torch promises nothing, floating types as NaN or as -7, others as
  -1 or 0. Memory that operators and C++ extensions take for themselves is not seen; on a GPU a few freed blocks full of NaN lie ready for
  them in the caching allocator. (A dispatch mode sees no more, and is called for every operator of every example.)

Both have guards for reads, too: see ``read_guards.py``. What stands in for torch's functions does so in the whole process, and so the
``Allocations`` in force and ``allocation_watchers`` are the process's too: a target may allocate in threads that it or autograd starts.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import torch
from torch.utils import dlpack

from moefuzz.harness.base.case import Case
from moefuzz.harness.failures import ReadOutside, WroteOutside
from moefuzz.kernels.triton_interpreter.accesses import Access, Watcher, watchers

from .read_guards import ReadGuard

GAPS = {"cuda": 4 << 20, "cpu": 1 << 16}  # bytes between inputs; under the interpreter a stray store of a row tile stays inside
AROUND = {"cuda": 1 << 20, "cpu": 1 << 16}  # bytes on either side of an allocation

_GUARD = 0xFF
_full, _empty = torch.full, torch.empty
_FREED_BLOCKS = (1 << 12, 1 << 16, 1 << 20, 1 << 23)  # bytes


def extent(tensor: torch.Tensor) -> int:
    """How many elements lie between the first and the last of a tensor, both included.

    >>> extent(torch.zeros(3, 4)[:, :2]), extent(torch.zeros(0, 4))
    (10, 0)
    """
    if tensor.is_contiguous():
        return tensor.numel()
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def flat(tensor: torch.Tensor) -> torch.Tensor:
    """The memory of a tensor from its first element to its last, gaps of the strides included, as one axis."""
    return tensor.as_strided((extent(tensor),), (1,), tensor.storage_offset())


def n_bytes(tensor: torch.Tensor) -> int:
    """How many bytes lie from the first element of a tensor to the end of the last."""
    return extent(tensor) * tensor.element_size()


class Arena:
    """The inputs of a call, copied to ``device`` with their strides into one buffer with gaps between them."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], device: torch.device) -> None:
        gap, self._spans = GAPS[device.type], {}
        end = gap
        for name, tensor in tensors.items():
            size = n_bytes(tensor)
            self._spans[name] = (end, end + size)
            end += -(-size // 16) * 16 + gap
        self._bytes = torch.full((end,), _GUARD, dtype=torch.uint8, device=device)
        self.tensors = {name: self._place(name, tensor) for name, tensor in tensors.items()}
        self._before = self._bytes.clone()

    def read_guard(self) -> ReadGuard:
        """The arena's addresses, of which those of an input may be read."""
        return ReadGuard(self._bytes.data_ptr(), self._bytes.numel(), tuple(self._spans.values()), self.place_of)

    def _place(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        start, stop = self._spans[name]
        placed = self._bytes[start:stop].view(tensor.dtype)
        placed.copy_(flat(tensor))
        return placed.as_strided(tensor.shape, tensor.stride())

    def changes(self) -> Iterator[tuple[str | None, int]]:
        """(input, first changed byte counted from its start) of what was changed; the input is None for bytes that belong to none."""
        if torch.equal(self._bytes.view(torch.int64), self._before.view(torch.int64)):  # a seventh of the time
            return
        changed = (self._bytes != self._before).cpu()
        for name, (start, stop) in self._spans.items():
            own = torch.zeros(stop - start, dtype=torch.bool)
            tensor = self.tensors[name]
            if own.numel():
                mask = own.view(-1, tensor.element_size())
                mask.as_strided((*tensor.shape, mask.shape[1]), (*(stride * mask.shape[1] for stride in tensor.stride()), 1)).fill_(True)
            hit = changed[start:stop] & own
            if hit.any():
                yield name, int(hit.nonzero()[0])
                changed[start:stop] &= ~own
        if changed.any():
            yield None, int(changed.nonzero()[0])

    def place_of(self, byte: int) -> str:
        """Where a byte of the arena lies, in words: how far behind or before the nearest input."""
        nearest = min(self._spans, key=lambda name: min(abs(byte - self._spans[name][0]), abs(byte - self._spans[name][1])))
        start, stop = self._spans[nearest]
        if start <= byte < stop:
            return f"in a stride gap of {nearest}"
        return f"{byte - stop} bytes behind {nearest}" if byte >= stop else f"{start - byte} bytes before {nearest}"


class Allocations(Watcher):
    """While in force, what is allocated on ``device`` lies between guard zones and starts with ``poison``, "nan" or "finite".

    ``allocation_watchers`` are called with each tensor that is given and its poison, None where it starts with values.
    """

    def __init__(self, device: torch.device, poison: str = "nan", *, watches_loads: bool = True) -> None:
        self._device, self._gap, self.poison, self._watches_loads = device, AROUND[device.type], poison, watches_loads
        self._buffers: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.read_guards: list[ReadGuard] = []
        self._stray: list[str] = []  # where the first load outside read
        if device.type == "cuda":
            for size in _FREED_BLOCKS:
                torch.full((size,), _GUARD, dtype=torch.uint8, device=device)

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
        buffer = _full((2 * self._gap + math.ceil(size / 16) * 16,), _GUARD, dtype=torch.uint8, device=out.device)
        storage = _storage_of_its_own(buffer[self._gap : self._gap + size]).untyped_storage()
        inside = _empty(0, dtype=out.dtype, device=out.device).set_(storage, 0, out.shape, out.stride())
        if written:
            inside.copy_(out)
        elif self.poison == "finite":
            inside.fill_(finite_poison(out.dtype))
        held = inside.detach() if allocation_watchers else inside  # so that one may ask whether anybody else still holds it
        self._buffers.append((buffer, held))
        for watch in allocation_watchers:
            watch(held, None if written else self.poison)
        place = functools.partial(_beside, held, self._gap)
        self.read_guards.append(ReadGuard(buffer.data_ptr(), buffer.numel(), ((self._gap, self._gap + size),), place))
        return inside

    def access(self, access: Access) -> None:
        """Note the first load that reads outside of what may be read."""
        if access.kind != "load" or self._stray or not access.active.any():
            return
        addresses = access.addresses[access.active]
        for guard in self.read_guards:
            byte = guard.first_out_of_bounds(addresses, access.width)
            if byte is not None:
                self._stray.append(guard.place_of(byte))

    def raise_if_overrun(self, case: Case, target: str) -> None:
        """Raise WroteOutside or ReadOutside if the run stored or loaded outside."""
        __tracebackhide__ = True
        if overrun := self._overrun():
            raise WroteOutside(case, target, f"wrote outside: {overrun}")
        if self._stray:
            raise ReadOutside(case, target, f"read outside: {self._stray[0]}")

    def _overrun(self) -> str | None:
        """The first allocation with a store outside, in words."""
        zones, rests = [], []  # in words of 8 bytes, which take a tenth of the time, and the bytes before the first word
        for buffer, inside in self._buffers:
            end = self._gap + n_bytes(inside)
            words = -(-end // 8) * 8
            zones += [buffer[: self._gap].view(torch.int64), buffer[words:].view(torch.int64)]
            rests += [buffer[end:words]] if end < words else []
        if not zones:
            return None
        hit = (torch.cat(zones) != -1).any()
        if rests:
            hit |= (torch.cat(rests) != _GUARD).any()
        if not bool(hit):
            return None
        for buffer, inside in self._buffers:
            changed = (buffer != _GUARD).cpu()
            changed[self._gap : self._gap + n_bytes(inside)] = False
            if changed.any():
                return _beside(inside, self._gap, int(changed.nonzero()[0]))
        return None


def _beside(inside: torch.Tensor, gap: int, byte: int) -> str:
    """Where a byte of an allocation's buffer lies, in words."""
    byte -= gap
    where = f"{-byte} bytes before" if byte < 0 else f"{byte - n_bytes(inside)} bytes behind"
    return f"{where} an allocation of {inside.dtype}, shape {tuple(inside.shape)}"


allocation_watchers: list[Callable[[torch.Tensor, str | None], None]] = []
_wrapped: Callable[[object], bool] = getattr(torch._C._functorch, "is_functorch_wrapped_tensor", lambda _: False)  # under vmap or grad
_in_force: list[Allocations] = []  # the functions that stand in for torch's are always the same, so that torch.compile meets no new ones


def _stand_in(original: Callable[..., torch.Tensor], *, written: bool) -> Callable[..., torch.Tensor]:
    @functools.wraps(original)
    def allocate(*args: Any, **keywords: Any) -> torch.Tensor:
        out = original(*args, **keywords)
        own = keywords.get("out") is None and not _wrapped(out)
        return _in_force[-1]._guarded(out, written=written) if _in_force and own else out

    return allocate


def _resize(tensor: torch.Tensor, *args: Any, **keywords: Any) -> torch.Tensor:
    if not tensor.untyped_storage().resizable():
        tensor.set_(tensor.clone())  # type: ignore[call-overload]  # it leaves its guard zones
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
    """The same bytes as a tensor whose storage begins with them: autograd takes it for granted that a new tensor has storage offset 0."""
    return dlpack.from_dlpack(memory)


def finite_poison(dtype: torch.dtype) -> float:
    """What the poison "finite" is in a dtype."""
    return -7.0 if dtype.is_floating_point else 0


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two floating tensors hold the same bits, NaN included."""
    return torch.equal(_bits(a), _bits(b))


def is_poison(values: torch.Tensor, poison: str) -> torch.Tensor:
    """Where a floating tensor still holds the bits of a poison."""
    return values == finite_poison(values.dtype) if poison == "finite" else _bits(values) == -1


def _bits(values: torch.Tensor) -> torch.Tensor:
    return values.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()])
