"""What the zoos of kernels share. A comment names the class on each line that is wrong, NotWritten on the line of ``def``."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from triton.runtime.interpreter import InterpreterBuilder

from moefuzz.harness import Finding

HAS_BLOCK_POINTERS = hasattr(InterpreterBuilder, "create_make_block_ptr")  # not so in Triton 3.9

KINDS = ("OutOfBounds", "UninitialisedRead", "Race", "NotWritten", "WrittenTwice")
Launch = Callable[[], object]
Fault = tuple[str, str, int]  # kind, kernel, line; 0 of NotWritten


def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """0, 1, 2, ..."""
    return torch.arange(math.prod(shape)).reshape(shape).to(dtype)


def planted(file: str, launched: str) -> set[Fault]:
    """The faults that the comments of a kernel name; those of a helper are the helper's caller's."""
    faults, kernel = set(), ""
    for number, line in enumerate(Path(file).read_text().splitlines(), 1):
        if line.startswith("def "):
            kernel = line.removeprefix("def ").split("(", maxsplit=1)[0]
        for kind in KINDS:
            if line.endswith(f"# {kind}") and kernel in (launched, f"helper_of_{launched}"):
                faults.add((kind, launched, 0 if kind == "NotWritten" else number))
    return faults


def faults_of(findings: list[Finding]) -> set[Fault]:
    return {(finding.kind, finding.kernel, finding.line) for finding in findings}
