"""Sizes where kernels break: at the edges of a tile, one off, and just beyond several tiles."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from .checks import check_range


def tile_edge_sizes(block: int, *, smallest: int = 0, largest: int | None = None) -> st.SearchStrategy[int]:
    """Return a strategy for sizes at the edges of a tile of ``block``: 0, 1, around one block, around two and three, and primes between.

    - ``smallest`` and ``largest`` bound the sizes; ``largest`` defaults to three blocks and one.

    Drawn examples for a block of 16: 0, 1, 15, 16, 17, 31, 33, 13.
    """
    return st.sampled_from(tile_edges(block, smallest=smallest, largest=largest))


def tile_edges(block: int, *, smallest: int = 0, largest: int | None = None) -> list[int]:
    """The sizes of ``tile_edge_sizes``, the smallest first."""
    largest = 3 * block + 1 if largest is None else largest
    check_range("smallest", smallest, "largest", largest)
    around = {n * block + d for n in (1, 2, 3) for d in (-1, 0, 1)}
    edges = {0, 1, 2, 3, 7, 13, *around}
    return sorted(size for size in edges if smallest <= size <= largest) or [smallest]


def any_of(*lists: Sequence[int]) -> st.SearchStrategy[int]:
    """Return a strategy for the sizes of several lists, each list about as often as the others and the first the simplest.

    ``|`` draws the list before the size. Here both are one choice, in a third of the time, and that time is most of an example's.
    """
    longest = max(map(len, lists))
    return st.sampled_from([size for sizes in lists for _ in range(round(longest / len(sizes))) for size in sizes])


def dimension_sizes(*, largest: int = 40) -> st.SearchStrategy[int]:
    """Return a strategy for N, K, H or I: from 1 to ``largest``, often at the edge of a tile of 16 or 32.

    Drawn examples: 1, 5, 17, 32, 33.
    """
    check_range("1", 1, "largest", largest)
    return any_of(range(1, largest + 1), tile_edges(16, smallest=1, largest=largest), tile_edges(32, smallest=1, largest=largest))


def token_counts(*, largest: int = 40) -> st.SearchStrategy[int]:
    """Return a strategy for T: 0, 1, 2, odd counts, counts that are no multiple of 4, and the edges of a tile.

    Drawn examples: 0, 1, 3, 15, 33.
    """
    check_range("0", 0, "largest", largest)
    return any_of(range(min(8, largest) + 1), tile_edges(16, largest=largest), range(largest + 1))
