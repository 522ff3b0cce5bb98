"""Tables and lists that the commands print."""

from __future__ import annotations

from collections.abc import Iterable

import typer
from rich import box
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from moefuzz.harness.base.text import several
from moefuzz.harness.models.presets import MoeShape
from moefuzz.harness.report.folder import BadReport, Report
from moefuzz.harness.run_log.outcome import RegimeCount, RunOutcome

from .narrow import print_table


def print_shapes(shapes: list[MoeShape]) -> None:
    """Print a table within 80 columns; E experts, of which a token chooses topk, H hidden size, I intermediate size."""
    table = Table("model", "E", "topk", "H", "I", "norm", "Qwen3", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in table.columns[1:5]:
        column.justify = "right"
    for shape in shapes:
        numbers = (shape.num_experts, shape.num_experts_per_tok, shape.hidden_size, shape.moe_intermediate_size)
        table.add_row(shape.model_id, *map(str, numbers), "yes" if shape.norm_topk_prob else "no", "no" if shape.note else "yes")
    print_table(Console(), table)
    typer.echo("\nnorm: norm_topk_prob; Qwen3: the whole block is a Qwen3 block. `moefuzz models MODEL` says more of one.")


def print_summary(console: Console, outcome: RunOutcome) -> None:
    """Print a table for each target, the examples and the time, one line for each failure, and the notes."""
    for target in dict.fromkeys(regime.target for regime in outcome.regimes):
        console.print(f"[bold]{escape(target)}[/]", highlight=False, soft_wrap=True)
        print_table(console, _by_regime([regime for regime in outcome.regimes if regime.target == target]))
    exploring = sum(regime.seconds for regime in outcome.regimes)
    rate = f", {outcome.examples / exploring:.1f} a second while exploring" if exploring else ""
    console.print(f"{several(outcome.examples, 'example')} in {outcome.seconds:.0f} s{rate}", highlight=False)
    for failure in outcome.failures:
        title = " of ".join(filter(None, (failure.kind, failure.tensor)))
        rest = "" if failure.minimised else " (not minimised to the end)"
        console.print(f"[red]failed[/] {escape(title)}: {escape(failure.case)}{rest}", highlight=False, soft_wrap=True)
    failing = sum(regime.failing for regime in outcome.regimes)
    if not outcome.failures and not outcome.examples:
        console.print("[yellow]no example ran[/]: nothing is known of the target; give it more --time")
    elif not outcome.failures and failing:
        console.print(f"[yellow]nothing new[/]: {several(failing, 'example')} failed, without a report of their own", highlight=False)
    elif not outcome.failures:
        console.print("[green]nothing found[/]" + (" until then" if outcome.status else ""))
    if outcome.unreached:
        names = ", ".join(dict.fromkeys(regime for _, regime in outcome.unreached))
        console.print(f"[yellow]no time for[/] {escape(names)}", highlight=False, soft_wrap=True)
    for note in outcome.notes:
        console.print(f"[yellow]{escape(note)}[/]", highlight=False, soft_wrap=True)


def _by_regime(regimes: list[RegimeCount]) -> Table:
    table = Table("regime", box=box.SIMPLE_HEAD, collapse_padding=True)
    seen = [name for name in ("no_room", "refused", "known") if any(getattr(regime, name) for regime in regimes)]
    for column in ("examples", "per s", *seen, "failing", "bound used"):
        table.add_column(column.replace("_", " "), justify="right", no_wrap=True)
    table.add_column("by", overflow="fold")
    table.columns[0].no_wrap = True
    for regime in regimes:
        rate = f"{regime.examples / regime.seconds:.1f}" if regime.seconds else "-"
        failing = f"[red]{regime.failing}[/]" if regime.failing else "0"
        counts = [str(getattr(regime, name)) for name in seen]
        table.add_row(regime.regime, str(regime.examples), rate, *counts, failing, f"{regime.share:.1%}", regime.share_tensor or "-")
    return table


def print_page(markdown: str) -> None:
    """Print a report's page, rendered for a terminal, or as plain text if there is none."""
    console = Console()
    console.print(Markdown(markdown)) if console.is_terminal else typer.echo(markdown)


def print_reports(reports: Iterable[Report | BadReport]) -> bool:
    """Print each report's ID, failure, target and case, and which cannot be read; return whether any could be."""
    unreadable, any_read = [], False
    for report in reports:
        if isinstance(report, BadReport):
            unreadable.append(str(report))
        else:
            any_read = True
            said = f"{report.id}  {report.title} in {report.target}"
            typer.echo("".join(c if c.isprintable() else "?" for c in said) + f"\n{'':10}{report.case!r}")
    for line in unreadable:
        typer.echo(f"skipped: {line}")
    return any_read
