"""Strategies for sizes at which kernels fail: at the edges of a tile, one off, and just beyond several tiles."""

from __future__ import annotations

from hypothesis import strategies as st

from .validation import check_range


def tile_edge_sizes(block: int, *, smallest: int = 0, largest: int | None = None) -> st.SearchStrategy[int]:
    """Return a strategy for sizes at the edges of a tile of ``block``: 0, 1, around one block, around two and three, and primes between.

    - ``smallest`` and ``largest`` bound the sizes; ``largest`` defaults to three blocks and one.

    Drawn examples for a block of 16: 0, 1, 15, 16, 17, 31, 33, 13.
    """
    largest = 3 * block + 1 if largest is None else largest
    check_range("smallest", smallest, "largest", largest)
    around = {n * block + d for n in (1, 2, 3) for d in (-1, 0, 1)}
    edges = {0, 1, 2, 3, 7, 13, *around}
    fitting = sorted(size for size in edges if smallest <= size <= largest)
    return st.sampled_from(fitting or [smallest])


def dimension_sizes(*, largest: int = 40) -> st.SearchStrategy[int]:
    """Return a strategy for N, K, H or I: from 1 to ``largest``, often at the edge of a tile of 16 or 32.

    Drawn examples: 1, 5, 17, 32, 33.
    """
    check_range("1", 1, "largest", largest)
    edges = tile_edge_sizes(16, smallest=1, largest=largest) | tile_edge_sizes(32, smallest=1, largest=largest)
    return st.integers(1, largest) | edges


def token_counts(*, largest: int = 40) -> st.SearchStrategy[int]:
    """Return a strategy for T: 0, 1, 2, odd counts, counts that are no multiple of 4, and the edges of a tile.

    Drawn examples: 0, 1, 3, 15, 33.
    """
    check_range("0", 0, "largest", largest)
    return st.integers(0, min(8, largest)) | tile_edge_sizes(16, largest=largest) | st.integers(0, largest)
