"""Suggestions for an unknown name: close spellings, and the targets of a file, which is parsed and not imported."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path

from .contract import level_of_first_parameter

_MOST = 3


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question to end a message with; empty where no other known word is close.

    >>> did_you_mean("resaon", ["reason", "link"]), did_you_mean("link", ["link"])
    ('; did you mean reason?', '')
    """
    return _asked(get_close_matches(word, [one for one in known if one != word], 1))


def in_a_row(words: Iterable[str]) -> str:
    """Join words as in a sentence.

    >>> in_a_row(["link", "reason", "when"])
    'link, reason and when'
    """
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def did_you_mean_target(spec: str, names: Iterable[str]) -> str:
    """Return such a question for a target: an installed name, or the targets of a file that the module or path in ``spec`` names."""
    return _asked(_in_a_file(spec) or get_close_matches(spec, list(names), _MOST))


def without_file(spec: str) -> str:
    """Turn a name of a target by file into one by module, if the file lies in or below the working directory and binds the attribute.

    ``sub/mine.py:kernel`` becomes ``sub.mine:kernel``; any other name is returned as it is.
    """
    said, colon, attribute = spec.partition(":")
    if not colon or not said.endswith(".py"):
        return spec
    file, module, after = _file_of(said)
    is_module = file is not None and not after and all(part.isidentifier() for part in module.split("."))
    return f"{module}:{attribute}" if file is not None and is_module and attribute in _bound_in(file) else spec


def _bound_in(file: Path) -> set[str]:
    """Return the names that a Python file binds at its top level."""
    bound: set[str] = set()
    for node in _parsed(file):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {alias.asname or alias.name for alias in node.names}
        else:
            bound |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}
    return bound


def _parsed(file: Path) -> list[ast.stmt]:
    """Return the statements of a file; none where it cannot be read or parsed."""
    try:
        return ast.parse(file.read_text(encoding="utf-8")).body
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return []


def targets_in(file: Path) -> list[str]:
    """Return the names that a Python file defines as a Target, or as a function whose first parameter is that of a level."""
    return [name for name in dict.fromkeys(_defined(_parsed(file))) if not name.startswith("_")]


def _asked(meant: list[str]) -> str:
    return f"; did you mean {' or '.join(meant[:_MOST])}?" if meant else ""


def _in_a_file(spec: str) -> list[str]:
    said, _, attribute = spec.partition(":")
    file, module, after = _file_of(said)
    if file is None:
        near = get_close_matches(said, [path.stem for path in Path().glob("*.py") if path.stem.isidentifier()], 1)
        return _in_a_file(f"{near[0]}:{attribute}") or [f"{near[0]}:{attribute}"] if near and attribute else []
    if attribute and module == said and said not in sys.modules:  # the named file exists, and its import failed
        return []
    attribute, names = attribute or after, targets_in(file)
    chosen = [attribute] if attribute in names else get_close_matches(attribute, names) or names
    if attribute and not chosen and module != said:  # which the file may import from elsewhere
        chosen = [attribute]
    return [meant for name in chosen if (meant := f"{module}:{name}") != spec]


def _file_of(said: str) -> tuple[Path | None, str, str]:
    """Return the file that a module or a path names, its module, and an attribute that was given after a dot instead of a colon."""
    if any(not character.isprintable() for character in said):
        return None, said, ""
    path = Path(said)
    if path.is_absolute():
        path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else Path("\0")
    parts = [part for part in (*path.parts[:-1], *path.name.removesuffix(".py").split(".")) if part]
    parts = parts[:-1] if parts[-1:] == ["__init__"] else parts
    for length, after in ((len(parts), ""), (len(parts) - 1, parts[-1] if parts else "")):
        for file in (Path(*parts[:length]).with_suffix(".py"), Path(*parts[:length], "__init__.py")) if length > 0 else ():
            if _is_file(file):
                return file, ".".join(parts[:length]), after
    loaded = getattr(sys.modules.get(said), "__file__", None)
    return (Path(loaded) if loaded else None), said, ""


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef):
            first = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)][:1]
            if first and level_of_first_parameter(first[0]):
                yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
            made_by = node.value.func
            if getattr(made_by, "id", getattr(made_by, "attr", "")) == "Target":
                places = node.targets if isinstance(node, ast.Assign) else [node.target]
                yield from (place.id for place in places if isinstance(place, ast.Name))
