"""The command ``moefuzz``.

A command imports what it needs when it runs, so that ``--help``, completion and errors of usage do not wait for torch.
"""

from __future__ import annotations

import errno
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from moefuzz.harness.base.environment import warnings
from moefuzz.harness.base.versions import versions

from .configured import Configured
from .corpus_command import app as corpus_app
from .describe_command import describe_command
from .fuzz_command import fuzz_command
from .list_commands import models_command, report_command, targets_command
from .new_command import new_command
from .options import refuse
from .replay_command import replay_command
from .run_commands import merge_command, summary_command
from .sanitize import sanitize_command


class Commands(TyperGroup):
    """The group of commands; it refuses an empty argument, which as a path would mean the working directory."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ours = args[: args.index("--")] if "--" in args else args  # the rest belongs to a script
        for before, argument in zip(["", *ours], ours, strict=False):
            if not argument:
                refuse(f"{before if before.startswith('-') else 'an argument'} is empty")
            if argument.startswith("--") and argument.endswith("="):
                refuse(f"{argument[:-1]} is empty")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # a text too long for a path, when tested for being one
                raise
            refuse(f"{error.filename}: {error.strerror}")


app = typer.Typer(
    cls=Commands,
    help="Find bugs in Mixture-of-Experts GPU kernels before users do.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # which joins the lines of a paragraph
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def moefuzz(
    *,
    show_version: Annotated[bool, typer.Option("--version", "-V", help="Print the versions of all packages that affect results.")] = False,
) -> None:
    for line in warnings():
        typer.echo(f"moefuzz: {line}", err=True)
    if show_version:
        typer.echo(f"moefuzz {version('moefuzz')} ({versions()})")
        raise typer.Exit


for name, command in (
    ("replay", replay_command),
    ("fuzz", fuzz_command),
    ("report", report_command),
    ("describe", describe_command),
    ("new", new_command),
    ("sanitize", sanitize_command),
    ("targets", targets_command),
    ("models", models_command),
    ("summary", summary_command),
    ("merge", merge_command),
):
    app.command(name, cls=Configured if name in ("fuzz", "describe") else None)(command)
app.add_typer(corpus_app, name="corpus")
