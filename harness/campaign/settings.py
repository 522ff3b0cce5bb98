"""What is asked of a run, as its folder's ``run.json`` has it for all its processes."""

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
    """How to fuzz."""

    targets: tuple[str, ...]
    seconds: float
    isolate: bool = True
    case_seconds: float = CASE_SECONDS
    sanitize: bool = False
    known_issues: str = ""  # a file
    share: str = ""  # where examples are shared: redis://..., or Hypothesis' own database
    seed: int = 0  # of the examples of each regime
    only_regimes: tuple[str, ...] = ()

    def said(self, command: str) -> dict[str, Any]:
        """For ``run.json``, with what decides an outcome here."""
        return {"command": command, **asdict(self), "versions": versions(), "device": describe()}

    @classmethod
    def of(cls, folder: Path) -> RunSettings:
        """What a run's folder asks for. Raises BadRun."""
        defaults = {name: field.default for name, field in cls.__dataclass_fields__.items()}
        said: dict[str, Any] = {"seed": 0, "only_regimes": []} | said_of(folder)  # a run of an earlier version has neither
        types: dict[str, Any] = {"targets": list, "only_regimes": list, "seconds": (int, float), "case_seconds": (int, float)}
        for name, default in defaults.items():
            if not isinstance(said.get(name), types.get(name, type(default))):
                raise BadRun(f"{folder / 'run.json'} does not say {name}" + (": it was merged of several runs" if "merged" in said else ""))
        return cls(**{name: said[name] for name in defaults} | {name: tuple(map(str, said[name])) for name in ("targets", "only_regimes")})

    def database(self) -> ExampleDatabase | None:
        """Where examples are shared. Raises CannotShare."""
        return database_of(self.share)

    @contextmanager
    def in_force(self, issues: KnownIssues | None = None, *, isolated_already: bool = False) -> Iterator[KnownIssues]:
        """While it lasts, ``check`` runs cases as is asked."""
        if issues is None:
            issues = KnownIssues.read(Path(self.known_issues)) if self.known_issues else KnownIssues()
        with ExitStack() as lasting:
            if self.isolate and not isolated_already:
                lasting.enter_context(isolated(self.case_seconds))
            lasting.enter_context(sanitizing(self.sanitize))
            yield lasting.enter_context(in_force(issues))
