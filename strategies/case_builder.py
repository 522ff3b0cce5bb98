"""A case drawn field by field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st

Built = TypeVar("Built")


def fitted_cases(
    fitted: Callable[..., Built], rows: Mapping[str, st.SearchStrategy[Any]], fields: Mapping[str, st.SearchStrategy[Any] | Sequence[Any]]
) -> st.SearchStrategy[Built]:
    """Return a strategy for what ``fitted`` makes of ``rows`` and ``fields``, each a strategy or the choices, the simplest first.

    What has one choice is not drawn: ``st.just`` costs half of what a choice does, for each example.
    """
    constants = {name: field[0] for name, field in fields.items() if isinstance(field, Sequence) and len(field) == 1}
    varying = {name: field for name, field in fields.items() if name not in constants}
    drawn = {name: st.sampled_from(field) if isinstance(field, Sequence) else field for name, field in varying.items()}
    parts = {**rows, **drawn}

    @st.composite
    def cases(draw: st.DrawFn) -> Built:
        return fitted(**constants, **{name: draw(part) for name, part in parts.items()})

    return cases()  # and not st.builds: Hypothesis would print that call, of a function of ours, for the case
