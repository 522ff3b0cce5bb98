"""The code by which a standalone script obtains a target: an import, or the part of an adapter's source that needs no moefuzz."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import dataclass
from pathlib import Path

from moefuzz.harness.aliases import current
from moefuzz.harness.targets import Target
from moefuzz.harness.targets.registry import imported, named_targets
from moefuzz.harness.verdict.isolation import isolation_for

_IN_EVERY_SCRIPT = ("import os", "import sys", "import torch", "from pathlib import Path")
_FAULTY = ("moefuzz.harness.planted.faults", "moefuzz.harness.planted.process_faults")


@dataclass(frozen=True)
class TargetCode:
    """Code that defines ``target`` as a function, and the file that it needs, which is in ``home`` on this machine."""

    text: str
    file: str = ""  # relative: mine.py, or pkg/mine.py; empty if the target is installed
    home: Path | None = None


def code_of(target: Target) -> TargetCode | None:
    """Return the code of a target; None if it needs moefuzz, or if the target cannot be imported by its name.

    If only a worker process has the target's function, the code is read there while isolation is on.
    """
    isolation = isolation_for(target) if target.is_declaration else None
    return code_of_name(target.name) if isolation is None else isolation.run_in_worker(code_of_name, target.name)


def code_of_name(name: str) -> TargetCode | None:
    """Import the target of a name into this process, and return what ``code_of`` returns of it."""
    named = named_targets()
    spec = named[name].value if name in named else name
    module, colon, attribute = spec.partition(":")
    if not colon or not attribute.isidentifier():
        return None
    module = current(module)
    home = imported(module)
    source = inspect.getsource(home)
    path = Path(str(home.__file__)).absolute()
    folder = path.parents[module.count(".") + (path.name == "__init__.py")]
    file = "" if "site-packages" in path.parts or module.startswith("moefuzz.") else path.relative_to(folder).as_posix()
    where = _LOOK_FOR.format(file=file) if file else ""
    if not re.search(r"^\s*(from|import) moefuzz", source, re.MULTILINE) or module.startswith(
        ("moefuzz.kernels", "moefuzz.harness.targets.blocks", *_FAULTY)
    ):
        given = f"from {module} import {attribute} as target"
        of_target = "\n\ntarget = target.function" if isinstance(getattr(home, attribute), Target) else ""
        return TargetCode(where + given + of_target, file, folder)
    found = getattr(home, attribute)
    needed = _needed_by((found.function if isinstance(found, Target) else found).__name__, source)
    return None if needed is None else TargetCode(where + needed, file, folder)  # what it imports may stand beside it


_LOOK_FOR = """# Run this in the folder that holds {file}, or put that folder on PYTHONPATH; folders above this script are searched too.
places = [str(place) for place in (Path.cwd(), *Path(__file__).resolve().parents) if (place / "{file}").exists()]
sys.path += places[:1]
"""


def _needed_by(function: str, source: str) -> str | None:
    """Return the statements of a module that a function needs, in order, imports first; None if one of them needs moefuzz."""
    body = [node for node in ast.parse(source).body if not (isinstance(node, ast.ImportFrom) and node.module == "__future__")]
    makes = {name: node for node in body for name in _made_by(node)}
    wanted, needed = [function], set[ast.stmt]()
    while wanted:
        node = makes.get(wanted.pop())
        if node is None or node in needed:
            continue
        needed.add(node)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("moefuzz"):
            return None
        wanted += [each.id for each in ast.walk(node) if isinstance(each, ast.Name)]
    if function not in makes:
        return None
    # A statement with a side effect, as on os.environ, is kept if all names that it uses are kept.
    kept = [node for node in body if node in needed or (isinstance(node, ast.Expr) and _names(node) and _names(node) <= _safe(makes))]
    imports = {name for name in makes if isinstance(makes[name], ast.Import | ast.ImportFrom)}
    used = set().union(*(_names(node) for node in kept))
    kept = [node for node in body if node in kept or any(makes.get(name) is node for name in used & imports)]
    kept = [node for node in kept if ast.unparse(node) not in _IN_EVERY_SCRIPT]
    parts = [("\n\n" if isinstance(node, ast.FunctionDef | ast.ClassDef) else "") + ast.unparse(node) for node in kept]
    return "\n".join(parts) + f"\n\n\ntarget = {function}"


def _made_by(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    return [each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)]


def _names(node: ast.stmt) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _safe(makes: dict[str, ast.stmt]) -> set[str]:
    """Return the names that are imported from modules other than moefuzz."""
    foreign = {name for name, node in makes.items() if isinstance(node, ast.Import)}
    return foreign | {name for name, node in makes.items() if isinstance(node, ast.ImportFrom) and "moefuzz" not in str(node.module)}
