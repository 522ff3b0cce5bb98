"""Copies of moefuzz's own kernels with changed source, imported under another name.

They are real files, since Triton reads a kernel's source from its file.
"""

from __future__ import annotations

import atexit
import importlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

SOURCE = Path(importlib.import_module("moefuzz.kernels.grouped_gemm").__file__ or "").parent


def changed_kernels(name: str, edited: Callable[[str, str], str], module: str = "grouped_gemm") -> ModuleType:
    """Return a module of a copy of the kernels, in which ``edited(file, text)`` gives the text of each file; one copy for each name."""
    package = f"_moefuzz_{name}"
    if package not in sys.modules:
        folder = Path(tempfile.mkdtemp(prefix="moefuzz-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        shutil.copytree(SOURCE, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        for path in (folder / package).rglob("*.py"):
            path.write_text(edited(path.name, path.read_text()))
        shared = folder / package / "triton_interpreter"
        shutil.rmtree(shared)  # one for each process, since it changes Triton
        shared.with_suffix(".py").write_text(
            "import sys\n\nfrom moefuzz.kernels import triton_interpreter\n\nsys.modules[__name__] = triton_interpreter\n"
        )
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
    return importlib.import_module(f"{package}.{module}")
