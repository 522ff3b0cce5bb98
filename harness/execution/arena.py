"""The inputs of a call in one buffer.

All bytes that belong to no input, stride gaps included, are guard bytes. A read outside shows in the result. One comparison with a copy
shows a store outside and a changed input. Reads are guarded too: see ``read_guards.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from .memory import GUARD, flat, n_bytes
from .read_guards import ReadGuard

GAPS = {"cuda": 4 << 20, "cpu": 1 << 16}  # bytes between inputs; under the interpreter a wrong store of a row tile stays within a gap


class Arena:
    """The inputs of a call, copied to ``device`` with their strides into one buffer with gaps between them."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], device: torch.device) -> None:
        gap, self._spans = GAPS[device.type], {}
        end = gap
        for name, tensor in tensors.items():
            size = n_bytes(tensor)
            self._spans[name] = (end, end + size)
            end += -(-size // 16) * 16 + gap
        self._bytes = torch.full((end,), GUARD, dtype=torch.uint8, device=device)
        self.tensors = {name: self._place(name, tensor) for name, tensor in tensors.items()}
        self._before = self._bytes.clone()

    def read_guard(self) -> ReadGuard:
        """Return a guard of the addresses of the arena, of which only those of an input may be read."""
        return ReadGuard(self._bytes.data_ptr(), self._bytes.numel(), tuple(self._spans.values()), self.place_of)

    def _place(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        start, stop = self._spans[name]
        placed = self._bytes[start:stop].view(tensor.dtype)
        placed.copy_(flat(tensor))
        return placed.as_strided(tensor.shape, tensor.stride())

    def changes(self) -> Iterator[tuple[str | None, int]]:
        """Yield (input, first changed byte counted from its start) of each change; the input is None for bytes that belong to none."""
        if torch.equal(self._bytes.view(torch.int64), self._before.view(torch.int64)):  # takes a seventh of the time
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
        """Return, as words, where a byte of the arena lies: how far behind or before the nearest input."""
        nearest = min(self._spans, key=lambda name: min(abs(byte - self._spans[name][0]), abs(byte - self._spans[name][1])))
        start, stop = self._spans[nearest]
        if start <= byte < stop:
            return f"in a stride gap of {nearest}"
        return f"{byte - stop} bytes behind {nearest}" if byte >= stop else f"{start - byte} bytes before {nearest}"
