"""Guards against reads outside: Triton's interpreter gives the addresses of every load, and none may lie in a gap or a guard zone.

A load beyond the end of a tensor whose value is masked later changes no result, but faults on a GPU if a page ends there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ReadGuard:
    """Bytes [address, address + size) of which only ``spans``, (start, stop) counted from the address, may be read."""

    address: int
    size: int
    spans: tuple[tuple[int, int], ...]
    place_of: Callable[[int], str]  # the place, as words, of a byte outside, counted from the address

    def first_out_of_bounds(self, addresses: np.ndarray, width: int) -> int | None:
        """Return the first byte of the guard, outside its spans, at which ``width`` bytes are read; None if there is none.

        >>> guard = ReadGuard(1000, 50, ((10, 20),), str)
        >>> [guard.first_out_of_bounds(np.array(addresses), 4) for addresses in ([1010, 1016], [1010, 1020, 900], [2000])]
        [None, 20, None]
        """
        low, high = int(addresses.min()) - self.address, int(addresses.max()) - self.address
        if high < 0 or low >= self.size or any(start <= low and high + width <= stop for start, stop in self.spans):
            return None
        at = addresses.ravel().astype(np.int64) - self.address
        outside = (at >= 0) & (at < self.size)
        for start, stop in self.spans:
            outside &= (at < start) | (at + width > stop)
        return int(at[outside].min()) if outside.any() else None
