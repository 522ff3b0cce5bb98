"""Print a table if it fits, else a line for each row, as in a terminal of 20 columns."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_WIDE = 10_000


def print_table(console: Console, table: Table) -> None:
    """Print a table; if a word of it would be cut, print each row as ``first: header value, ...`` instead."""
    if Measurement.get(console, console.options.update(max_width=_WIDE), table).minimum <= console.width:
        console.print(table)
        return
    for first, *others in zip(*(column.cells for column in table.columns), strict=True):
        headers = [str(column.header) for column in table.columns[1:]]
        said = ", ".join(f"{header} {_plain(value)}" for header, value in zip(headers, others, strict=True) if _plain(value))
        console.print(f"{_plain(first)}: {said}", markup=False, highlight=False, soft_wrap=True)


def _plain(cell: object) -> str:
    return Text.from_markup(cell).plain if isinstance(cell, str) else str(cell)
