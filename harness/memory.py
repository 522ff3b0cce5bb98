"""Memory that tells on a target: inputs in one arena, its own allocations poisoned, guard zones around both.

- ``Arena`` holds every input. All bytes that belong to none, stride gaps included, are 0xFF, a NaN in every floating type: an over-read
  shows in the result, a store outside shows in one comparison with a copy, and so does a changed input.
- ``Allocations`` is a dispatch mode. What torch allocates for the target while it is in force, forward and backward, lies between guard
  zones too, and starts poisoned where torch promises nothing: floating types as NaN or as -7, others as -1 or 0. Memory that a C++
  extension takes from the caching allocator is not seen; on a GPU a few freed blocks full of NaN lie ready for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

GAPS = {"cuda": 4 << 20, "cpu": 1 << 16}  # bytes on either side; under the interpreter a stray store of a row tile stays inside
POISONS = ("nan", "number")

_GUARD = 0xFF
_aten = torch.ops.aten
_UNWRITTEN = {_aten.empty, _aten.empty_like, _aten.empty_strided, _aten.new_empty, _aten.new_empty_strided}
_WRITTEN = {
    getattr(_aten, f"{new}{value}{like}") for value in ("zeros", "ones", "full") for new, like in (("", ""), ("new_", ""), ("", "_like"))
}
_FREED_BLOCKS = (1 << 12, 1 << 16, 1 << 20, 1 << 23)  # bytes


def extent(tensor: torch.Tensor) -> int:
    """How many elements lie between the first and the last of a tensor, both included.

    >>> extent(torch.zeros(3, 4)[:, :2]), extent(torch.zeros(0, 4))
    (10, 0)
    """
    if tensor.numel() == 0:
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


class Arena:
    """The inputs of a call, copied to ``device`` with their strides into one buffer with gaps between them."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], device: torch.device) -> None:
        gap, self._spans = GAPS[device.type], {}
        end = gap
        for name, tensor in tensors.items():
            size = extent(tensor) * tensor.element_size()
            self._spans[name] = (end, end + size)
            end += -(-size // 16) * 16 + gap
        self._bytes = torch.full((end,), _GUARD, dtype=torch.uint8, device=device)
        self.tensors = {name: self._place(name, tensor) for name, tensor in tensors.items()}
        self._before = self._bytes.clone()

    def _place(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        start, stop = self._spans[name]
        flat = tensor.as_strided((extent(tensor),), (1,), tensor.storage_offset())
        placed = self._bytes[start:stop].view(tensor.dtype)
        placed.copy_(flat)
        return placed.as_strided(tensor.shape, tensor.stride())

    def changes(self) -> Iterator[tuple[str | None, int]]:
        """(input, first changed byte counted from its start) of what was changed; the input is None for bytes that belong to none."""
        if torch.equal(self._bytes, self._before):
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


class Allocations(TorchDispatchMode):
    """While in force, torch's allocations on ``device`` lie between guard zones and start with ``poison``, one of POISONS."""

    def __init__(self, device: torch.device, poison: str = "nan") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device, self._gap, self._poison = device, GAPS[device.type], poison
        self._buffers: list[tuple[torch.Tensor, torch.Tensor]] = []
        if device.type == "cuda":
            for size in _FREED_BLOCKS:
                torch.full((size,), _GUARD, dtype=torch.uint8, device=device)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = getattr(func, "overloadpacket", None)
        if packet is _aten.resize_ and not args[0].untyped_storage().resizable():
            args[0].set_(args[0].clone())  # it leaves its guard zones
        out = func(*args, **(kwargs or {}))
        if packet in _UNWRITTEN:
            return self._guarded(out, written=False)
        return self._guarded(out, written=True) if packet in _WRITTEN else out

    def _guarded(self, out: torch.Tensor, *, written: bool) -> torch.Tensor:
        if type(out) is not torch.Tensor or out.device.type != self._device.type or out.layout != torch.strided or not out.numel():
            return out
        size = extent(out) * out.element_size()
        buffer = torch.full((2 * self._gap + math.ceil(size / 16) * 16,), _GUARD, dtype=torch.uint8, device=out.device)
        inside = _storage_of_its_own(buffer[self._gap : self._gap + size]).view(out.dtype).as_strided(out.shape, out.stride())
        if written:
            inside.copy_(out)
        elif self._poison == "number":
            inside.fill_(poison_number(out.dtype))
        self._buffers.append((buffer, inside))
        return inside

    def overrun(self) -> str | None:
        """The first allocation with a store outside, in words."""
        guards = [guard for buffer, inside in self._buffers for guard in (buffer[: self._gap], buffer[self._gap + self._size(inside) :])]
        if not guards or not bool((torch.cat(guards) != _GUARD).any()):
            return None
        for buffer, inside in self._buffers:
            changed = (buffer != _GUARD).cpu()
            changed[self._gap : self._gap + self._size(inside)] = False
            if changed.any():
                byte = int(changed.nonzero()[0]) - self._gap
                where = f"{-byte} bytes before" if byte < 0 else f"{byte - self._size(inside)} bytes behind"
                return f"{where} an allocation of {inside.dtype}, shape {tuple(inside.shape)}"
        return None

    @staticmethod
    def _size(inside: torch.Tensor) -> int:
        return extent(inside) * inside.element_size()


class _CudaArray:
    """Memory on a GPU, for torch.as_tensor, which keeps this object alive."""

    def __init__(self, memory: torch.Tensor) -> None:
        self._memory = memory
        self.__cuda_array_interface__ = {"shape": tuple(memory.shape), "typestr": "|u1", "data": (memory.data_ptr(), False), "version": 2}


def _storage_of_its_own(memory: torch.Tensor) -> torch.Tensor:
    """The same bytes as a tensor whose storage begins with them: autograd takes it for granted that a new tensor has storage offset 0."""
    return torch.from_numpy(memory.numpy()) if memory.device.type == "cpu" else torch.as_tensor(_CudaArray(memory), device=memory.device)


def poison_number(dtype: torch.dtype) -> float:
    """What the poison "number" is in a dtype."""
    return -7.0 if dtype.is_floating_point else 0


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two floating tensors hold the same bits, NaN included."""
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    return torch.equal(a.contiguous().view(bits), b.contiguous().view(bits))


def is_poison(values: torch.Tensor, poison: str) -> torch.Tensor:
    """Where a floating tensor still holds the bits of a poison."""
    if poison == "number":
        return values == poison_number(values.dtype)
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()]
    return values.view(bits) == -1
