"""Strategies for how many rows each expert has. A regime is a strategy with a name; ``expert_counts`` joins them, the simplest first.

All of them draw explicit lists of counts, one for each expert, since these shrink to the true minimum.
"""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from .sizes import tile_edge_sizes
from .validation import check_range

Counts = st.SearchStrategy[list[int]]


def free_counts(*, most_experts: int = 6, largest: int = 20) -> Counts:
    """Return a strategy for arbitrary counts. Drawn example: [3, 0, 17, 1]."""
    return st.lists(st.integers(0, largest), min_size=1, max_size=_experts(most_experts))


def even_counts(*, most_experts: int = 6, largest: int = 20) -> Counts:
    """Return a strategy for the same count everywhere. Drawn examples: [5, 5, 5], [16, 16]."""
    return st.builds(_repeat, st.integers(0, largest), st.integers(1, _experts(most_experts)))


def one_expert_takes_all(*, most_experts: int = 6, largest: int = 20) -> Counts:
    """Return a strategy in which one expert, the first, the last or one between, has all the rows. Drawn example: [0, 0, 17, 0]."""
    others = st.integers(0, (_experts(most_experts) - 1) // 2)
    count = st.integers(1, largest) | tile_edge_sizes(16, smallest=1)
    return st.builds(lambda before, count, after: [0] * before + [count] + [0] * after, others, count, others)


def starving_counts(*, most_experts: int = 6, largest: int = 20) -> Counts:
    """Return a strategy in which experts without rows are first, last, in the middle or in several places between experts with rows.

    Drawn example: [0, 4, 0, 0, 9].
    """
    check_range("2", 2, "most_experts", most_experts)
    busy = st.integers(1, largest)
    pairs = st.lists(st.tuples(st.booleans(), busy), min_size=1, max_size=most_experts // 2)
    ends = st.sampled_from([(True, False), (False, True), (True, True)])
    return st.builds(_with_empty, pairs, ends).map(lambda counts: counts[:most_experts])


def power_law_counts(*, most_experts: int = 8, largest: int = 40) -> Counts:
    """Return a strategy for a few busy experts and a long tail, as explicit counts. Drawn example: [40, 20, 13, 10, 8]."""
    return st.builds(
        lambda top, experts, exponent, reverse: [int(top / (e + 1) ** exponent) for e in range(experts)][:: -1 if reverse else 1],
        st.integers(1, largest),
        st.integers(2, max(2, _experts(most_experts))),
        st.sampled_from([1.0, 0.5, 2.0]),
        st.booleans(),
    )


def tile_edge_counts(*, block: int = 16, most_experts: int = 4) -> Counts:
    """Return a strategy in which every count is at the edge of a row tile of ``block``. Drawn example: [16, 15, 0, 17]."""
    return st.lists(tile_edge_sizes(block, largest=2 * block + 1), min_size=1, max_size=_experts(most_experts))


def block_aligned_counts(*, block: int = 16, most_experts: int = 4) -> Counts:
    """Return a strategy in which every count is a multiple of ``block``, as padded layouts have it. Drawn example: [32, 0, 16]."""
    return st.lists(st.integers(0, 2).map(lambda tiles: tiles * block), min_size=1, max_size=_experts(most_experts))


def fewer_rows_than_experts(*, most_experts: int = 12) -> Counts:
    """Return a strategy for few single rows among many experts. Drawn example: [0, 0, 1, 0, 0, 0, 1, 0]."""
    check_range("2", 2, "most_experts", most_experts)
    return st.lists(st.integers(0, 1), min_size=2, max_size=most_experts).filter(lambda counts: sum(counts) < len(counts))


def expert_counts() -> Counts:
    """Return a strategy that joins all regimes of this module, the simplest first. Drawn examples: [0], [1, 0, 3], [16, 17]."""
    return st.one_of(
        free_counts(),
        even_counts(),
        one_expert_takes_all(),
        starving_counts(),
        tile_edge_counts(),
        block_aligned_counts(),
        power_law_counts(),
        fewer_rows_than_experts(),
    )


def _experts(most: int) -> int:
    check_range("1", 1, "most_experts", most)
    return most


def _repeat(count: int, experts: int) -> list[int]:
    return [count] * experts


def _with_empty(pairs: Sequence[tuple[bool, int]], ends: tuple[bool, bool]) -> list[int]:
    """Return counts of experts with rows, each after an empty one if its flag is set; ``ends`` adds an empty expert first and last."""
    between = [count for empty, busy in pairs for count in ([0] if empty else []) + [busy]]
    first, last = ends
    return [0] * first + between + [0] * last
