"""The command ``moefuzz``.

What a command needs beyond its options is imported when it runs: ``--help``, completion and wrong usage wait for no torch.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import forkserver
from .cases import Case, case_from_json, case_from_repr
from .completion import report_ids
from .exit_codes import FOUND, INFRASTRUCTURE
from .failures import Failure
from .listings import models_command, named_report, report_command, targets_command
from .options import ISOLATE, ONE_TARGET, SANITIZE, WHAT, named_target, refuse
from .reports import BadReport, Report, read
from .runs.commands import merge_command, summary_command
from .runs.corpus import app as corpus_app
from .runs.fuzz_command import fuzz_command
from .sanitize_script import sanitize_command
from .sanitized import sanitizing, why_not
from .targets import BadTarget
from .versions import versions

if TYPE_CHECKING:
    from .isolation import Isolation

app = typer.Typer(
    help="Find bugs in Mixture-of-Experts GPU kernels before users do.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def moefuzz(
    *, show_version: Annotated[bool, typer.Option("--version", "-V", help="Print the versions that decide an outcome.")] = False
) -> None:
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
    """Run one case again, by default on the target that its report names, or that of its level in MOEFUZZ_TARGET, or our own.

    The case runs in a process of its own. Known issues are no matter here. Exit code 0: the target is right, or refuses what it does not
    declare, 1: it fails, 2: wrong usage.
    """
    forkserver.start()  # it loads torch while this process does

    from .resources import LostDevice, NoRoom
    from .verdict import check

    try:
        parsed, reported = _case_of(case)
        if reported is not None:
            target, sanitize = target or reported.target, sanitize or reported.kind.is_misuse
        with _isolation(isolate is not False) as isolation, _sanitizing(wanted=sanitize):
            if target is not None and isolation is not None:
                isolation.load(target)
            agreement = check(parsed, None if target is None else named_target(target))
    except (ValueError, OverflowError, MemoryError, BadReport, BadTarget, NoRoom) as error:
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
    typer.echo(f"right: {agreement.case!r}\nshare of the bound used: {shares}")


def _case_of(text: str) -> tuple[Case, Report | None]:
    """A case, and the report in which it stands. Raises ValueError or BadReport."""
    if text.lstrip().startswith("{"):
        return case_from_json(text), None
    if "(" in text and not Path(text).exists():
        return case_from_repr(text), None
    report = read(named_report(text))
    return report.case, report


for name, command in (
    ("fuzz", fuzz_command),
    ("report", report_command),
    ("sanitize", sanitize_command),
    ("targets", targets_command),
    ("models", models_command),
    ("summary", summary_command),
    ("merge", merge_command),
):
    app.command(name)(command)
app.add_typer(corpus_app, name="corpus")


def _isolation(wanted: bool) -> AbstractContextManager[Isolation | None]:
    from .isolation import isolated

    return isolated() if wanted else nullcontext()


def _sanitizing(*, wanted: bool) -> AbstractContextManager[None]:
    if wanted and (why := why_not()):
        refuse(why)
    return sanitizing(wanted)
