"""The command ``moefuzz``.

What a command needs beyond its options is imported when it runs: ``--help``, completion and wrong usage wait for no torch.
"""

from __future__ import annotations

import errno
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from moefuzz.harness.base.environment import warnings
from moefuzz.harness.base.exit_codes import FOUND, INFRASTRUCTURE
from moefuzz.harness.base.versions import versions
from moefuzz.harness.failures import Failure
from moefuzz.harness.targets import BadTarget
from moefuzz.harness.verdict import forkserver
from moefuzz.harness.verdict.sanitizing import sanitizing, why_not

from .completion import report_ids
from .configured import Configured, project_target
from .corpus_command import app as corpus_app
from .describe_command import describe_command
from .fuzz_command import fuzz_command
from .list_commands import models_command, report_command, targets_command
from .named_cases import NoCase, named_case
from .new_command import new_command
from .options import ISOLATE, ONE_TARGET, SANITIZE, WHAT, named_target, refuse
from .run_commands import merge_command, summary_command
from .sanitize import sanitize_command

if TYPE_CHECKING:
    from moefuzz.harness.verdict.isolation import Isolation


class Commands(TyperGroup):
    """Refuses an empty argument of any command: as a path it would be the working directory."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ours = args[: args.index("--")] if "--" in args else args  # and not a script's
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
            if error.errno != errno.ENAMETOOLONG:  # which is only asking whether there is such a file
                raise
            refuse(f"{error.filename}: {error.strerror}")


app = typer.Typer(
    cls=Commands,
    help="Find bugs in Mixture-of-Experts GPU kernels before users do.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def moefuzz(
    *, show_version: Annotated[bool, typer.Option("--version", "-V", help="Print the versions that decide an outcome.")] = False
) -> None:
    for line in warnings():
        typer.echo(f"moefuzz: {line}", err=True)
    if show_version:
        typer.echo(f"moefuzz {version('moefuzz')} ({versions()})")
        raise typer.Exit


@app.command()
def replay(
    case: Annotated[
        str,
        typer.Argument(
            metavar="CASE",
            help="GroupedGemmCase(...) as a report prints it, JSON, a report's folder or file, or its ID.",
            autocompletion=report_ids,
        ),
    ],
    target: Annotated[str | None, typer.Option("--target", "-t", help=WHAT, **ONE_TARGET)] = None,
    isolate: Annotated[bool | None, ISOLATE] = None,
    sanitize: Annotated[bool, SANITIZE] = False,
) -> None:
    """Run one case again, by default on the target that its report names, or that of its level in MOEFUZZ_TARGET or
    pyproject.toml, or our own.

    The case runs in a process of its own. Known issues are no matter here. Exit code 0: the target is right, or refuses what it does not
    declare, 1: it fails, 2: wrong usage.
    """
    try:
        parsed, reported = named_case(case)
    except NoCase as error:
        refuse(str(error))
    forkserver.start()  # it loads torch while this process does

    from moefuzz.harness.base.resources import LostDevice, NoRoom
    from moefuzz.harness.verdict.check import check

    try:
        if reported is None:
            target = target or project_target(parsed.level)
        else:
            target, sanitize = target or reported.target, sanitize or reported.kind.is_misuse
        with _isolation(isolate is not False) as isolation, _sanitizing(wanted=sanitize):
            if target is not None and isolation is not None:
                isolation.load(target)
            agreement = check(parsed, None if target is None else named_target(target))
    except (ValueError, OverflowError, MemoryError, BadTarget, NoRoom) as error:
        refuse(str(error))
    except LostDevice as error:
        refuse(str(error), INFRASTRUCTURE)
    except Failure as failure:
        typer.echo(str(failure))
        raise typer.Exit(FOUND) from None
    if agreement.refused:
        typer.echo(f"refused, as it may: {agreement.case!r}\n{agreement.refused}")
        return
    shares = ", ".join(f"{tensor} {share:.1%}" for tensor, share in agreement.shares.items())
    if reported is not None and target == reported.target:
        typer.echo(f"fixed, it was {reported.title}")
    typer.echo(f"right: {agreement.case!r}\nshare of the bound used: {shares}")


for name, command in (
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


def _isolation(wanted: bool) -> AbstractContextManager[Isolation | None]:
    from moefuzz.harness.verdict.isolation import isolated

    return isolated() if wanted else nullcontext()


def _sanitizing(*, wanted: bool) -> AbstractContextManager[None]:
    if wanted and (why := why_not()):
        refuse(why)
    return sanitizing(wanted)
