"""``moefuzz replay``: run one case again."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from moefuzz.harness.base.case import Case
from moefuzz.harness.base.exit_codes import FOUND, INFRASTRUCTURE
from moefuzz.harness.failures import Failure
from moefuzz.harness.report.folder import Report
from moefuzz.harness.targets import BadTarget
from moefuzz.harness.targets.registry import declared_target, default_target
from moefuzz.harness.verdict import forkserver
from moefuzz.harness.verdict.sanitizing import sanitizing, why_not

from .completion import report_ids
from .configured import project_target
from .named_cases import NoCase, named_case
from .options import ISOLATE, ONE_TARGET, SANITIZE, WHAT, named_target, refuse

if TYPE_CHECKING:
    from moefuzz.harness.verdict.check import Agreement


def replay_command(
    case: Annotated[
        str,
        typer.Argument(
            metavar="CASE",
            help="A case as a report prints it, GroupedGemmCase(...), or as JSON; or a report's ID, folder or file.",
            autocompletion=report_ids,
        ),
    ],
    target: Annotated[str | None, typer.Option("--target", "-t", help=WHAT, **ONE_TARGET)] = None,
    isolate: Annotated[bool | None, ISOLATE] = None,
    sanitize: Annotated[bool, SANITIZE] = False,
) -> None:
    """Run one case again, by default on the target that its report names.

    Without a report the default is the target of its level in MOEFUZZ_TARGET or pyproject.toml, or else moefuzz's own. The case runs in a
    worker process. Known issues are not applied.

    Exit code 0: the result is right, or the target refuses a case outside its declaration, 1: it fails, 2: wrong usage.
    """
    try:
        parsed, reported = _named(case, target)
    except (NoCase, BadTarget) as error:
        refuse(str(error))
    forkserver.start()  # it loads torch while this process does

    from moefuzz.harness.base.resources import LostDevice, NoRoom

    try:
        if reported is None:
            target = target or project_target(parsed.level)
        else:
            target, sanitize = target or reported.target, sanitize or reported.kind.is_misuse
        agreement = _checked(parsed, target, isolate=isolate is not False, sanitize=sanitize)
    except (ValueError, OverflowError, MemoryError, BadTarget, NoRoom) as error:
        refuse(str(error))
    except LostDevice as error:
        refuse(str(error), INFRASTRUCTURE)
    except Failure as failure:
        typer.echo(str(failure))
        raise typer.Exit(FOUND) from None
    _print(agreement, reported if reported is not None and target == reported.target else None)


def _named(case: str, target: str | None) -> tuple[Case, Report | None]:
    """Return a case and its report, if any; the target's module is imported if it defines the case's level. Raises NoCase and BadTarget."""
    try:
        return named_case(case)
    except NoCase:
        if target is None:
            raise
    declared_target(target)
    return named_case(case)


def _checked(case: Case, target: str | None, *, isolate: bool, sanitize: bool) -> Agreement:
    """Check a case and return the agreement. Raises what ``check`` raises, and BadTarget."""
    from moefuzz.harness.verdict.check import check
    from moefuzz.harness.verdict.isolation import isolated

    if sanitize and (why := why_not()):
        refuse(why)
    with isolated() if isolate else nullcontext() as isolation, sanitizing(sanitize):
        if target is None:
            typer.echo(f"moefuzz: no target is named: this is {default_target(case.level).name}", err=True)
            return check(case)
        return check(case, named_target(target) if isolation is None else isolation.load(target))


def _print(agreement: Agreement, fixed: Report | None) -> None:
    """Print how the target agrees; ``fixed`` is the report of a failure that no longer occurs."""
    if agreement.refused:
        typer.echo(f"refused, as allowed: {agreement.case!r}\n{agreement.refused}")
        return
    if fixed is not None:
        typer.echo(f"fixed, it was {fixed.title}")
    shares = ", ".join(f"{tensor} {share:.1%}" for tensor, share in agreement.shares.items())
    typer.echo(f"right: {agreement.case!r}\nshare of the bound used: {shares}")
