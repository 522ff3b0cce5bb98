"""Known issues: a file of predicates over the case, so that fuzzing goes on around a bug that is reported already.

    [[issue]]
    target = "their_kernel"                              # as --target names it, or a pattern like "transformers_*"
    when = 'dtype == "bfloat16" and K % 8 != 0'          # an expression over the fields and properties of the case
    failure = "WrongValue_*"                             # optional: which failures, a pattern over the names that reports print
    versions = "transformers <6, >=5.10"                 # optional: a package and the versions that have the bug
    reason = "rows are read in steps of 16 bytes"
    link = "https://..."
    expires = 2027-06-30                                 # from that day on it covers nothing

A failure that an entry covers counts as known and is not reported. A run ends by naming each entry that has expired, and each that covered
no failure: no case met its predicate, or all cases that did were right.
"""

from __future__ import annotations

import ast
import dataclasses
import datetime as dt
import functools
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from moefuzz.harness.base import ambient
from moefuzz.harness.base.case import Case
from moefuzz.harness.base.case_text import case_kinds
from moefuzz.harness.base.suggestions import did_you_mean, in_a_row
from moefuzz.harness.failures import Failure

_ALLOWED = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt,
    ast.GtE, ast.In, ast.NotIn, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Mod, ast.FloorDiv, ast.Name, ast.Load, ast.Constant, ast.Tuple,
    ast.List, ast.Subscript, ast.Call,
)  # fmt: skip
_FUNCTIONS = {"min": min, "max": max, "sum": sum, "len": len}


def _said_by(kind: Any) -> set[str]:
    """Return the names of the fields and properties of a kind of case."""
    return {field.name for field in dataclasses.fields(kind)} | {name for name in dir(kind) if isinstance(getattr(kind, name), property)}


class BadKnownIssues(Exception):
    """A file that cannot be used; the text is one line that names the entry and the reason."""


@dataclass
class KnownIssue:
    """One entry, and the cases of this run that met it."""

    target: str
    when: str
    reason: str
    link: str
    expires: dt.date
    failure: str = "*"
    versions: str = ""
    matched: int = field(default=0, init=False)  # cases that meet its predicate
    failed: int = field(default=0, init=False)  # those on which the target failed as it says
    nearest: tuple[int, str] = field(default=(0, ""), init=False)  # how near a case came to meeting it, and what prevented that

    def __post_init__(self) -> None:
        """Compile the entry. Raises ValueError for an expression, a requirement or a date that is none."""
        for name in ("target", "when", "reason", "link", "failure", "versions"):
            if not isinstance(getattr(self, name), str) or (not getattr(self, name) and name != "versions"):
                raise ValueError(f"{name} must be a text, got {getattr(self, name)!r}")
        if type(self.expires) is not dt.date:
            raise ValueError(f"expires must be a date like 2027-06-30, got {self.expires!r}")
        try:
            tree = ast.parse(self.when, mode="eval")
            self._requirement = Requirement(self.versions) if self.versions else None
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            wrong = "versions" if isinstance(error, InvalidRequirement) else "when"
            raise ValueError(f"{wrong} is {getattr(self, wrong)[:80]!r}: {str(error).splitlines()[0]}") from None
        called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
        if not all(isinstance(node, _ALLOWED) for node in ast.walk(tree)) or {getattr(f, "id", "") for f in called} - set(_FUNCTIONS):
            raise ValueError(f"when must be made of fields, numbers, texts, comparisons, and, or, not, + - * // %, got {self.when!r}")
        self._names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node not in called}
        names = list(map(_said_by, case_kinds().values()))
        if not any(self._names <= said for said in names):
            said = set().union(*names)
            unknown = sorted(self._names - said)
            meant = did_you_mean(unknown[0], said) if unknown else ""
            raise ValueError(f"in {self.when!r}: no kind of case has {', '.join(unknown or sorted(self._names))}{meant}")
        self._code = compile(tree, "when", "eval")

    @property
    def expired(self) -> bool:
        return dt.datetime.now(tz=dt.UTC).date() >= self.expires

    def is_about(self, case: Case, target: str) -> bool:
        """Return whether the case meets the predicate, for this target in the installed version; record in ``nearest`` how near it came."""
        holds, nearest = False, (5, "")
        if not fnmatchcase(target, self.target):
            nearest = 1, "no target is named so"
        elif unknown := self._names - _said_by(type(case)):
            nearest = 2, f"a {type(case).__name__} has no {' and no '.join(sorted(unknown))}"
        elif self._not_installed:
            nearest = 3, self._not_installed
        else:
            try:
                holds = bool(eval(self._code, {"__builtins__": {}, **_FUNCTIONS}, {name: getattr(case, name) for name in self._names}))
            except Exception as error:  # m_sizes[2] of two experts
                nearest = 4, f"when failed on every case: {type(error).__name__}: {error}"
        self.nearest = max(self.nearest, nearest)
        return holds

    @functools.cached_property
    def _not_installed(self) -> str:
        """Why the entry does not apply to the installed package; empty where it does."""
        if self._requirement is None:
            return ""
        try:
            installed = version(self._requirement.name)
        except PackageNotFoundError:
            return f"{self._requirement.name} is not installed"
        return "" if installed in self._requirement.specifier else f"{self._requirement.name} is {installed}"

    def __str__(self) -> str:
        return f"{self.target}: {self.when} ({self.reason}, {self.link})"


def _entry(table: object) -> KnownIssue:
    """Return the entry that a table of the file describes. Raises ValueError."""
    fields = {field.name: field for field in dataclasses.fields(KnownIssue) if field.init}
    needed = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    if not isinstance(table, dict):
        raise ValueError(f"must be a table, got {table!r}"[:200])
    for key in table:
        if key not in fields:
            raise ValueError(f"has no key {key}{did_you_mean(key, fields) or '; keys are ' + in_a_row(fields)}")
    if missing := sorted(needed - set(table)):
        raise ValueError(f"lacks {in_a_row(missing)}")
    return KnownIssue(**table)


@dataclass
class KnownIssues:
    """The entries of a run."""

    entries: list[KnownIssue] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> KnownIssues:
        """Read the entries of a TOML file. Raises BadKnownIssues."""
        try:
            tables = tomllib.loads(path.read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise BadKnownIssues(f"known issues {path}: {error}") from None
        if set(tables) - {"issue"} or not isinstance(tables.get("issue", []), list):
            meant = did_you_mean(next(iter(tables)), ["issue"])
            raise BadKnownIssues(f"known issues {path}: must hold tables [[issue]] and nothing else, got {', '.join(tables)}{meant}")
        entries = []
        for number, table in enumerate(tables.get("issue", []), 1):
            try:
                entries.append(_entry(table))
            except ValueError as error:
                raise BadKnownIssues(f"known issues {path}, entry {number}: {error}") from None
        return cls(entries)

    def match(self, case: Case, target: str, failure: Failure | None) -> KnownIssue | None:
        """Count a case and its outcome; return the entry that covers the failure, if any."""
        covering = None
        for entry in self.entries:
            about = not entry.expired and entry.is_about(case, target)
            entry.matched += about
            if about and failure is not None and fnmatchcase(type(failure).__name__, entry.failure):
                entry.failed += 1
                covering = covering or entry
        return covering

    def report(self) -> list[str]:
        """Return a line for each entry that covered no failure, or has expired."""
        lines = []
        for entry in self.entries:
            if entry.expired:
                lines.append(f"known issue expired on {entry.expires}: {entry}")
            elif not entry.matched:
                why = f" ({entry.nearest[1]})" if entry.nearest[1] else ""
                lines.append(f"known issue met no case{why}: {entry}")
            elif not entry.failed:
                lines.append(f"known issue covered no failure in {entry.matched} cases that it is about: {entry}")
        return lines


@contextmanager
def in_force(issues: KnownIssues) -> Iterator[KnownIssues]:
    """Make ``check`` treat a failure that an entry covers as known, within the block."""
    with ambient.using(known_issues=issues):
        yield issues


def match_known_issue(case: Case, target: str, failure: Failure | None) -> KnownIssue | None:
    """Count a case for the known issues in force; return the entry that covers its failure, if any."""
    issues: KnownIssues | None = ambient.current().known_issues
    return None if issues is None else issues.match(case, target, failure)
