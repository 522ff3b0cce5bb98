"""Find the file and line in which a target is defined, for a code host to mark, without importing it."""

from __future__ import annotations

import ast
import os
import sys
import tokenize
import warnings
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

GROUP = "moefuzz.targets"


@dataclass(frozen=True)
class Place:
    """A line of a file; ``path`` is relative to ``root()``, with slashes. Lines and columns count from 1."""

    path: str
    line: int = 1
    end_column: int = 1  # after its last character


def root() -> Path:
    """Return the folder of the checkout: the workspace of a GitHub job if it contains the working directory, else that directory."""
    here, workspace = Path.cwd().resolve(), os.environ.get("GITHUB_WORKSPACE")
    above = Path(workspace).resolve() if workspace else here
    return above if here.is_relative_to(above) else here


def place_of(target: str) -> Place | None:
    """Return where a target, ``pkg.mod:attr`` or the name of an entry point, is defined; None if that is not below ``root()``."""
    address = target if ":" in target else next((point.value for point in entry_points(group=GROUP, name=target)), "")
    module, _, attribute = address.partition(":")
    file = _file_of(module)
    path = below_root(file) if file else None
    return _defined(file, attribute, path) if file and path else None


def below_root(file: Path) -> str | None:
    """Return the path of a file relative to ``root()``, with links resolved; None if it is outside, or no valid path."""
    try:
        resolved, above = file.resolve(), root()
    except (OSError, ValueError):
        return None
    return resolved.relative_to(above).as_posix() if resolved.is_relative_to(above) else None


def _file_of(module: str) -> Path | None:
    """Return the source file of a module that is loaded or lies on sys.path, or None. No finder is used: it may import parents."""
    loaded = getattr(sys.modules.get(module), "__file__", None)
    parts = module.split(".")
    folders = [Path(folder or ".", *parts[:-1]) for folder in (*sys.path, "")]
    candidates = [folder / name for folder in folders for name in (f"{parts[-1]}/__init__.py", f"{parts[-1]}.py")]
    return next((path for path in ([Path(loaded)] if loaded else []) + candidates if os.path.isfile(path)), None)  # noqa: PTH113  (False for a name that is too long, too)


def _defined(file: Path, attribute: str, path: str) -> Place:
    """Return the last line at the top level that binds a name; the first line of the file if there is none."""
    try:
        with tokenize.open(file) as opened, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the target's code
            text = opened.read()
            bound = [node.lineno for node in ast.parse(text).body if attribute in _names(node)]
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return Place(path)
    line = bound[-1] if bound else 1
    return Place(path, line, len(text.split("\n")[line - 1]) + 1)


def _names(node: ast.stmt) -> list[str]:
    """Return the names that a statement binds."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Assign() | ast.AnnAssign():
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        case ast.Import() | ast.ImportFrom():
            return [alias.asname or alias.name for alias in node.names]
    return []
