"""The settings of a run, which all its processes read from ``run.json`` in its folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hypothesis.database import ExampleDatabase

from moefuzz.harness.base.device import describe, versions
from moefuzz.harness.base.limits import CASE_SECONDS
from moefuzz.harness.run_log.events import BadRun, said_of
from moefuzz.harness.verdict.isolation import isolated
from moefuzz.harness.verdict.known_issues import KnownIssues, in_force
from moefuzz.harness.verdict.sanitizing import sanitizing

from .example_database import database_of


@dataclass(frozen=True)
class RunSettings:
    """The settings of a run."""

    targets: tuple[str, ...]
    seconds: float
    isolate: bool = True
    case_seconds: float = CASE_SECONDS
    sanitize: bool = False
    known_issues: str = ""  # a file
    share: str = ""  # where examples are shared: redis://..., or "" for Hypothesis' default database
    seed: int = 0  # of the examples of each regime
    only_regimes: tuple[str, ...] = ()

    def said(self, command: str) -> dict[str, Any]:
        """Return the content of ``run.json``: the settings, and the versions and device, on which outcomes depend."""
        return {"command": command, **asdict(self), "versions": versions(), "device": describe()}

    @classmethod
    def of(cls, folder: Path) -> RunSettings:
        """Return the settings in a run's folder. Raises BadRun."""
        defaults = {name: field.default for name, field in cls.__dataclass_fields__.items()}
        said: dict[str, Any] = {"seed": 0, "only_regimes": []} | said_of(folder)  # a run of an earlier version has neither
        types: dict[str, Any] = {"targets": list, "only_regimes": list, "seconds": (int, float), "case_seconds": (int, float)}
        for name, default in defaults.items():
            if not isinstance(said.get(name), types.get(name, type(default))):
                raise BadRun(f"{folder / 'run.json'} does not say {name}" + (": it was merged of several runs" if "merged" in said else ""))
        return cls(**{name: said[name] for name in defaults} | {name: tuple(map(str, said[name])) for name in ("targets", "only_regimes")})

    def database(self) -> ExampleDatabase | None:
        """Return the database that shares examples. Raises CannotShare."""
        return database_of(self.share)

    @contextmanager
    def in_force(self, issues: KnownIssues | None = None, *, isolated_already: bool = False) -> Iterator[KnownIssues]:
        """Apply the settings to ``check`` within this context; yield the known issues."""
        if issues is None:
            issues = KnownIssues.read(Path(self.known_issues)) if self.known_issues else KnownIssues()
        with ExitStack() as lasting:
            if self.isolate and not isolated_already:
                lasting.enter_context(isolated(self.case_seconds))
            lasting.enter_context(sanitizing(self.sanitize))
            yield lasting.enter_context(in_force(issues))
