"""The commands that list and print: reports, targets, models."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from moefuzz.harness.models.presets import presets
from moefuzz.harness.report.folder import read_all, reports_in
from moefuzz.harness.targets import BadTarget
from moefuzz.harness.targets.registry import declared_target, home_of, named_targets

from .completion import report_ids
from .configured import reports_folder
from .named_cases import named_report
from .narrow import print_table
from .options import refuse
from .tables import print_page, print_reports, print_shapes


def report_command(
    where: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER|ID]", help="A folder of reports, a run, or the ID of one report.", autocompletion=report_ids),
    ] = None,
) -> None:
    """List the reports of a folder or a run, or print one report; `moefuzz replay ID` runs its case again. Exit code 2: no report."""
    folder = reports_in(where or reports_folder())
    one = named_report(str(where or folder))
    if (one / "report.md").is_file():
        print_page((one / "report.md").read_text(encoding="utf-8", errors="replace"))
    elif not folder.is_dir():
        refuse(f"there is no folder {folder}")
    elif not print_reports(read_all(folder)):
        refuse(f"no reports in {folder}")


def targets_command() -> None:
    """List the installed targets (entry points of the group moefuzz.targets), with package and declaration.

    Exit code 0, even if a target cannot be used: the list says why.
    """
    console, unusable = Console(), list[str]()
    table = Table("name", "of", "level", "declares", box=box.SIMPLE_HEAD, collapse_padding=True)
    table.columns[0].no_wrap = table.columns[2].no_wrap = True
    for name in sorted(named_targets()):
        try:
            target = declared_target(name)
        except BadTarget as error:
            unusable.append(str(error))
        else:
            table.add_row(name, escape(home_of(name, target)), target.level, escape(", ".join(target.declared()) or "-"))
    print_table(console, table)
    for line in unusable:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def models_command(
    model_id: Annotated[str | None, typer.Argument(metavar="[MODEL_ID]", help="A model on the Hugging Face Hub, as owner/name.")] = None,
) -> None:
    """List the MoE shapes of released models that moefuzz contains; with MODEL_ID, read one's shape and expert tensors from the Hub.

    If the Hub does not answer, the contained shape is printed, with a note. Exit code 2: neither the Hub nor moefuzz has the model.
    """
    if model_id is None:
        print_shapes(list(presets().values()))
        return
    from moefuzz.harness.models.hub import INSTEAD, HubError, get_expert_metadata, shape_of

    try:
        shape = shape_of(model_id)
        experts = "" if INSTEAD in shape.note else str(get_expert_metadata(model_id))
    except HubError as error:
        refuse(str(error))
    for name, value in dataclasses.asdict(shape).items():
        if value != "":
            typer.echo(f"{name:<22} {value}")
    if experts:
        typer.echo(f"\nexpert tensors\n{experts}")
