"""Commands whose options have defaults in a project's pyproject.toml."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from moefuzz.harness.base.environment import TARGET_VARIABLE
from moefuzz.harness.base.project_settings import BadSettings, ProjectSettings, project_settings
from moefuzz.harness.report.folder import DEFAULT

from .options import named_target, refuse


def settings() -> ProjectSettings:
    """Return the project's settings, or end the command with one line."""
    try:
        return project_settings()
    except BadSettings as error:
        refuse(str(error))


def reports_folder() -> Path:
    """Return the default folder for reports of short runs."""
    return settings().report_dir or Path(DEFAULT)


def project_target(level: str) -> str | None:
    """Return the first of the project's targets of this level; None if there is none, or if the environment names targets."""
    if os.environ.get(TARGET_VARIABLE):
        return None
    return next((spec for spec in settings().targets if named_target(spec).level == level), None)


class Configured(TyperCommand):
    """A command that takes the options that neither command line nor environment gives from the project's settings, and prints those."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if ctx.resilient_parsing or set(args) & set(ctx.help_option_names):  # completion and help work whatever the settings
            return super().parse_args(ctx, args)
        said, names = settings(), {spelled: param.name for param in self.params for spelled in param.opts}
        names |= {"--target": names["target"]} if "target" in names else {}  # an argument of describe
        given = self.make_parser(ctx).parse_args(args=list(args))[0]
        values = _defaults(said, given.get(names.get("--hours", "")), given.get(names.get("--run", "")))
        defaults = {spelled: value for spelled, value in values.items() if value and spelled in names}
        ctx.default_map = {names[spelled]: value for spelled, value in defaults.items()}
        rest = super().parse_args(ctx, args)
        used = [spelled for spelled in defaults if _source(ctx, names[spelled]) == "DEFAULT_MAP"]
        if used and said.file is not None:
            words = [word for spelled in used for one in _as_list(defaults[spelled]) for word in (spelled, one)]
            typer.echo(f"moefuzz: defaults of {os.path.relpath(said.file)}: {shlex.join(words)}", err=True)
        return rest


def _defaults(said: ProjectSettings, hours: str | None, run: str | None) -> dict[str, Any]:
    """Return the settings as values of options. --hours replaces the time; a run that is resumed keeps its targets and known issues."""
    goes_on = run is not None and os.path.exists(os.path.join(run, "run.json"))  # noqa: PTH110, PTH118 - returns False for an invalid path
    return {
        "--target": None if goes_on else list(said.targets),
        "--time": None if hours else said.time,
        "--known-issues": None if goes_on or said.known_issues is None else str(said.known_issues),
        "--report-dir": None if said.report_dir is None else str(said.report_dir),
    }


def _source(ctx: Any, name: str) -> str:
    return getattr(ctx.get_parameter_source(name), "name", "")


def _as_list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]
