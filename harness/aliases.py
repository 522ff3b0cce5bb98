"""Import paths of version 0.1 that reports, entry points and replay lines name. They work for one more release."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType

MOVED = {
    "moefuzz.harness.adapters": "moefuzz.harness.targets.adapters",
    "moefuzz.harness.blocks": "moefuzz.harness.targets.blocks",
    "moefuzz.harness.cases": "moefuzz.harness.levels.cases",
    "moefuzz.harness.faults": "moefuzz.harness.planted.faults",
    "moefuzz.harness.hub": "moefuzz.harness.models.hub",
    "moefuzz.harness.minimise": "moefuzz.harness.reduction.minimise",
    "moefuzz.harness.known_issues": "moefuzz.harness.verdict.known_issues",
    "moefuzz.harness.mutants": "moefuzz.harness.planted.mutants",
    "moefuzz.harness.plugin": "moefuzz.harness.pytest_plugin.plugin",
    "moefuzz.harness.process_faults": "moefuzz.harness.planted.process_faults",
    "moefuzz.harness.target_names": "moefuzz.harness.targets.registry",
    "moefuzz.harness.ten_faults": "moefuzz.harness.planted.ten_faults",
}
"""Modules by their old path; what lies below one has moved with it."""


def current(module: str) -> str:
    """Return the path under which a module is imported today.

    >>> current("moefuzz.harness.adapters.liger"), current("acme.kernels")
    ('moefuzz.harness.targets.adapters.liger', 'acme.kernels')
    """
    for old, new in MOVED.items():
        if module == old or module.startswith(f"{old}."):
            return new + module.removeprefix(old)
    return module


def _new_spec(old: str) -> ModuleSpec | None:
    """Return where the module of an old path is found today; None for a path that is none."""
    try:
        return importlib.util.find_spec(current(old)) if current(old) != old else None
    except ModuleNotFoundError:
        return None


class _Moved(MetaPathFinder, Loader):
    """Gives the module of the new path for the old one, so that there is one of each."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG002
        return ModuleSpec(fullname, self) if _new_spec(fullname) is not None else None

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the code of the module, for ``python -m``."""
        spec = _new_spec(fullname)
        return None if spec is None else spec.loader.get_code(current(fullname))  # type: ignore[union-attr]

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = importlib.import_module(current(module.__name__))


def install() -> None:
    """Make old paths importable. They come first: an old package's modules would else be found a second time beside the new ones."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Moved())
