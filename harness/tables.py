"""The tables that the command prints."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich import box
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from .failures import Failure
from .models import MoeShape
from .reports import BadReport, Report

if TYPE_CHECKING:
    from .runs.explore import Turn


def print_shapes(shapes: list[MoeShape]) -> None:
    """A table within 80 columns; E experts, of which a token chooses topk, H hidden size, I intermediate size."""
    table = Table("model", "E", "topk", "H", "I", "norm", "Qwen3", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in table.columns[1:5]:
        column.justify = "right"
    for shape in shapes:
        numbers = (shape.num_experts, shape.num_experts_per_tok, shape.hidden_size, shape.moe_intermediate_size)
        table.add_row(shape.model_id, *map(str, numbers), "yes" if shape.norm_topk_prob else "no", "no" if shape.note else "yes")
    Console().print(table)
    typer.echo("\nnorm: norm_topk_prob; Qwen3: the whole block is a Qwen3 block. `moefuzz models MODEL` says more of one.")


def print_summary(console: Console, turns: list[Turn], failures: list[Failure], seconds: float) -> None:
    """A table for each target, examples and time, and the failures again, one line each."""
    for target in dict.fromkeys(turn.target for turn in turns):
        console.print(f"[bold]{escape(target)}[/]", highlight=False, soft_wrap=True)
        console.print(_by_regime([turn for turn in turns if turn.target == target]))
    total = sum(turn.examples for turn in turns)
    console.print(f"{total} examples in {seconds:.0f} s, {total / max(seconds, 1e-9):.1f} a second", highlight=False)
    for failure in failures:
        console.print(f"[red]failed[/] {escape(type(failure).__name__)}: {failure.case!r}", highlight=False, soft_wrap=True)
    if not failures:
        console.print("[green]nothing found[/]")


def _by_regime(turns: list[Turn]) -> Table:
    table = Table("regime", box=box.SIMPLE_HEAD, collapse_padding=True)
    seen = [name for name in ("no_room", "refused", "known") if any(getattr(turn, name) for turn in turns)]
    for column in ("examples", "per s", *seen, "failing", "bound used"):
        table.add_column(column.replace("_", " "), justify="right", no_wrap=True)
    table.add_column("by", overflow="fold")
    table.columns[0].no_wrap = True
    for turn in turns:
        tensor, share = max(turn.shares.items(), key=lambda item: item[1], default=("-", 0.0))
        rate = f"{turn.examples / turn.seconds:.1f}" if turn.seconds else "-"
        failing = f"[red]{turn.failing}[/]" if turn.failing else "0"
        counts = [str(getattr(turn, name)) for name in seen]
        table.add_row(turn.regime, str(turn.examples), rate, *counts, failing, f"{share:.1%}", tensor)
    return table


def print_page(markdown: str) -> None:
    """A report's page, laid out for a terminal; as it is where there is none."""
    console = Console()
    console.print(Markdown(markdown)) if console.is_terminal else typer.echo(markdown)


def print_reports(folder: Path, reports: Iterable[Report | BadReport]) -> None:
    """Each report's ID, failure, target and case, and what cannot be read."""
    unreadable, any_read = [], False
    for report in reports:
        if isinstance(report, BadReport):
            unreadable.append(str(report))
        else:
            any_read = True
            said = f"{report.id}  {report.title} in {report.target}"
            typer.echo("".join(c if c.isprintable() else "?" for c in said) + f"\n{'':10}{report.case!r}")
    if not any_read:
        typer.echo(f"no reports in {folder}")
    for line in unreadable:
        typer.echo(f"skipped: {line}")
