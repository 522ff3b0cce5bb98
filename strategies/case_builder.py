"""Build a strategy that draws a case field by field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st

Built = TypeVar("Built")


def fitted_cases(
    fitted: Callable[..., Built], rows: Mapping[str, st.SearchStrategy[Any]], fields: Mapping[str, st.SearchStrategy[Any] | Sequence[Any]]
) -> st.SearchStrategy[Built]:
    """Return a strategy for ``fitted`` called with ``rows`` and ``fields``; each is a strategy or a sequence of choices, simplest first.

    A field with a single choice is not drawn, since ``st.just`` costs half as much as a real choice for each example.
    """
    constants = {name: field[0] for name, field in fields.items() if isinstance(field, Sequence) and len(field) == 1}
    varying = {name: field for name, field in fields.items() if name not in constants}
    drawn = {name: st.sampled_from(field) if isinstance(field, Sequence) else field for name, field in varying.items()}
    parts = {**rows, **drawn}

    @st.composite
    def cases(draw: st.DrawFn) -> Built:
        return fitted(**constants, **{name: draw(part) for name, part in parts.items()})

    return cases()  # not st.builds, for which Hypothesis would print the call of ``fitted`` instead of the case
