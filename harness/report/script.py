"""A failure as a standalone script: it builds the tensors, calls the target, prints what is wrong, and exits with 1.

The script contains the tensors in their memory layout, so that strides and gaps are the same; large ones are in ``tensors.pt`` beside it.
It compares values with a float64 loop of its own; for each other kind of failure it has a few lines that detect it.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import torch

from moefuzz.harness.base.contract import passes
from moefuzz.harness.execution.allocations import AROUND
from moefuzz.harness.execution.memory import extent, flat
from moefuzz.harness.failures import Failure
from moefuzz.harness.failures.kinds import ENDS_A_PROCESS
from moefuzz.harness.levels.layouts import far_stride
from moefuzz.harness.levels.level import Level, NoScript, ScriptParts, level_of
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.checked import Checked, SecondCall, checked_of
from moefuzz.harness.verdict.judge import check_here

from .related_call import at_fault, related
from .target_source import code_of

TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("moefuzz.harness.report"), keep_trailing_newline=True, undefined=jinja2.StrictUndefined,
    autoescape=False,  # noqa: S701 - the output is Python and Markdown, not HTML
)  # fmt: skip
IN_FILE = "tensors.pt"
_MOST_NUMBERS = 500
_MODES = {
    "WrongValue": "value", "NonFinite": "value", "NotWritten": "unwritten", "Raised": "raising", "WroteOutside": "outside",
    "BrokenRelation": "related", "InputModified": "changed", "GradMissing": "missing", "WrongShape": "shape", "NonDeterministic": "differs",
    **dict.fromkeys(ENDS_A_PROCESS, "ending"),
}  # fmt: skip
_NO_MODE = {
    "ThreadLeft": "it would not end: the thread keeps its process",
    "ReadOutside": "loads are seen by moefuzz under Triton's interpreter alone",
    "WrongRouting": "the choice of experts is no output of the block",
}


@dataclass(frozen=True)
class Script:
    """The text of a script, the tensors that it reads from IN_FILE, and the target's file that it searches for, found in ``home``."""

    text: str
    numbers: dict[str, torch.Tensor]
    file: str = ""
    home: Path | None = None

    def write(self, folder: Path) -> Path:
        """Write text and tensors, and return the path of the script. Raises OSError."""
        if self.numbers:
            torch.save(self.numbers, folder / IN_FILE)
        path = folder / "reproduce.py"
        path.write_text(self.text, encoding="utf-8", errors="backslashreplace")
        return path


def script(failure: Failure, target: Target, *, unrun: bool = False) -> Script:
    """Return the script of a failure. For a relation the target runs to find the call that fails, unless ``unrun``. Raises NoScript."""
    case = failure.case
    _raise_if_unseen(failure)
    code = code_of(target)
    if code is None:
        raise NoScript("the target needs moefuzz, or has no name by which it is imported")
    level = level_of(case.level)
    if level.script is None:
        raise NoScript(f"targets of level {case.level} have no script")
    if case.relation and unrun:
        raise NoScript(f"{case.relation!r} is a relation of two calls, and the target was not run for this page")
    mode = _MODES[failure.kind.base]
    problem, second = _calls(failure, target, level, mode)
    parts = level.script(problem, failure.tensor, target)
    second_parts = None if second is None else level.script(second.problem, second.tensor, target)
    of_second = {} if second_parts is None else {f"second {name}": tensor for name, tensor in second_parts.tensors.items()}
    numbers = {name: tensor for name, tensor in parts.tensors.items() if name not in parts.far} | of_second
    in_file = sum(map(extent, numbers.values())) > _MOST_NUMBERS
    template = TEMPLATES.from_string(level.template)
    made = template.render(
        _of_target(code.text, parts, target)
        | _of_tensors(parts, in_file=in_file)
        | _of_failure(failure, mode, parts)
        | _of_second_call(template, case.relation, second, second_parts, in_file=in_file)
    )
    kept = {name: flat(tensor).clone() for name, tensor in numbers.items()} if in_file else {}
    return Script(re.sub(r"\n{4,}", "\n\n\n", made), kept, code.file, code.home)


def _raise_if_unseen(failure: Failure) -> None:
    """Raise NoScript if no script could show the failure."""
    kind = failure.kind
    if kind.unreproducible:
        raise NoScript("the failure did not come back")
    if kind.is_misuse:
        raise NoScript("moefuzz's sanitizer saw it, which watches each access of the kernel; the line above shows it")
    if kind.base not in _MODES:
        raise NoScript(_NO_MODE.get(kind.base, f"{kind.base} shows in moefuzz alone"))


def _calls(failure: Failure, target: Target, level: Level[Any], mode: str) -> tuple[Any, SecondCall | None]:
    """Return the problem of the call that the script makes, and a second call if two must agree. Raises NoScript."""
    relation, checked = failure.case.relation, checked_of(failure)
    if checked is None and relation and not failure.kind.ends_a_process:
        checked = _checked_again(failure, target)
    problem = level.build(failure.case) if checked is None else checked.problem
    if mode == "related":
        if checked is None:
            raise NoScript("the difference did not come back")
        return problem, related(failure, checked)
    if mode == "differs":
        if relation not in ("", "repeated"):
            raise NoScript(f"the second call of {relation!r} is one that moefuzz makes in its own way")
        return problem, None
    return at_fault(failure, checked, problem, target) if relation else problem, None


def _checked_again(failure: Failure, target: Target) -> Checked | None:
    """Run the case of a failure again in this process; return what was checked, or None if it does not fail in the same way."""
    try:
        check_here(failure.case, target)
    except Failure as again:
        return checked_of(again) if again.bucket == failure.bucket else None
    return None


def _of_target(text: str, parts: ScriptParts, target: Target) -> dict[str, Any]:
    """Return the template's values for the target: its code and keywords."""
    if any("KernelConfig(" in keyword for keyword in parts.keywords):
        text = f"from moefuzz.kernels.kernel_config import KernelConfig\n{text}"
    return {
        "target": text, "needs_path": "Path" in text, "own": "moefuzz" in text, "keywords": list(parts.keywords),
        "float32_reductions": target.float32_reductions, "around": AROUND["cpu"],
    }  # fmt: skip


def _of_tensors(parts: ScriptParts, *, in_file: bool) -> dict[str, Any]:
    """Return the template's values for the tensors."""
    return {
        "tensors": _literals(parts, "", in_file=in_file), "in_file": IN_FILE if in_file else "", "inputs": parts.inputs,
        "far": bool(parts.far), "has_rows": parts.has_rows, "shape": parts.shape, **parts.more,
    }  # fmt: skip


def _of_failure(failure: Failure, mode: str, parts: ScriptParts) -> dict[str, Any]:
    """Return the template's values for the failure: the worst element as an index into the result, and the limits of its right values."""
    m, dtype = failure.mismatch, f"torch.{failure.case.dtype}"
    without_gradients = mode == "shape" and failure.tensor and passes()[failure.tensor] == "forward"
    return {
        "finding": failure.finding.replace("\\", "\\\\").replace('"', "'"), "case": repr(failure.case), "mode": mode,
        "tensor": failure.tensor, "dtype": dtype, "shape_dtype": dtype, "got": parts.got, "right": parts.right,
        "got_of_run": "run()" if parts.of_run else f"(run(), {parts.got})[1]",
        "leaves": () if without_gradients else parts.leaves,  # the result has no gradient to compute
        "worst": () if m is None else parts.place(m.worst), "low": 0 if m is None else _number(m.low),
        "high": 0 if m is None else _number(m.high), "exact": m is None or m.bound == 0,
    }  # fmt: skip


def shows(path: Path, failure: Failure, home: Path | None = None) -> str:
    """Run a script with ``home`` on PYTHONPATH; return "" if it shows its failure, else one line on how it ended."""
    kind = failure.kind
    seconds = 30.0 if kind.base == "Hang" else 120.0  # including imports and compilation
    try:
        command = [sys.executable, path.name]  # our own script
        before = os.environ.get("PYTHONPATH")
        found = {} if home is None else {"PYTHONPATH": os.pathsep.join(filter(None, (str(home), before)))}
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=seconds, check=False, cwd=path.parent,
            env={**os.environ, **found},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "" if kind.base == "Hang" else f"it still ran after {seconds:.0f} s"
    said = (done.stdout.strip().splitlines() or [""])[-1]
    if kind.base == "Raised":  # the message can have several lines
        expected = done.returncode == 1 and any(line.startswith(f"raised {kind.detail}:") for line in done.stdout.splitlines())
    elif kind.base == "Crash":
        expected = said == "" and done.returncode not in (0, 1)
    elif kind.base == "CudaError":
        expected = done.returncode == 1 and "CUDA error" in done.stderr
    else:
        expected = done.returncode == 1 and said == "wrong"
    last = said or (done.stderr.strip().splitlines() or ["nothing"])[-1]
    return "" if expected else f"it ended with {done.returncode} and said: {last}"


def _of_second_call(
    template: jinja2.Template, relation: str, second: SecondCall | None, parts: ScriptParts | None, *, in_file: bool
) -> dict[str, Any]:
    """Return the template's values for a second call: its tensors, its ``run`` (keywords may differ), and the parts that are compared."""
    if second is None or parts is None:
        return {}
    if parts.far:
        raise NoScript("of two calls with operands gigabytes apart there is none")
    dtype = f"torch.{second.problem.case.dtype}"
    of_run = {"keywords": list(parts.keywords), "leaves": parts.leaves, "has_rows": parts.has_rows, "dtype": dtype, **parts.more}
    return {
        "second_tensors": _literals(parts, "second ", in_file=in_file), "second_leaves": parts.leaves,
        "second_run": "".join(template.blocks["run"](template.new_context(of_run))).strip(),
        "first_part": list(second.first_part), "second_part": list(second.second_part), "relation": relation,
    }  # fmt: skip


def _literals(parts: ScriptParts, before: str, *, in_file: bool) -> list[tuple[str, str]]:
    """Return the tensors by name, each as the expression that makes it."""
    return [
        (
            name,
            _far_literal(tensor, parts.far[name]) if name in parts.far else _literal(before + name, tensor, in_file=in_file),
        )
        for name, tensor in parts.tensors.items()
    ]


def _literal(name: str, tensor: torch.Tensor, *, in_file: bool) -> str:
    numbers = f'"{name}"' if in_file else f"[{', '.join(map(_number, flat(tensor).tolist()))}]"
    return f"tensor({numbers}, {tensor.dtype}, {tuple(tensor.shape)}, {tensor.stride()})"


def _far_literal(tensor: torch.Tensor, axis: int) -> str:
    numbers = ", ".join(map(_number, tensor.flatten().tolist()))
    return f"far([{numbers}], {tensor.dtype}, {tuple(tensor.shape)}, {tuple(far_stride(tensor, axis))})"


def _number(value: float) -> str:
    whole = math.isfinite(value) and value == int(value) and abs(value) < 1e6
    return str(int(value)) if whole else repr(value)
