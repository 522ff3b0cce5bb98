"""A failure as a script of its own: it builds the tensors, calls the target, compares with a loop in float64, and exits with 1.

The tensors stand in the script as they lie in memory, so that strides and their gaps are the same. What moefuzz adds to a call stays
behind: guard zones, poison and relations between two calls have no such script, nor have experts and blocks yet.
"""

from __future__ import annotations

import ast
import inspect
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import torch

from .cases import FAR_AXES, GroupedGemmCase
from .failures import NON_FINITE, WRONG_VALUE, Crash, CudaError, Failure, Hang, Raised
from .grouped_gemm_oracle import keywords_of
from .memory import extent, flat
from .problems import GroupedGemmProblem, build_grouped_gemm
from .target_names import imported, named_targets
from .targets import Target

TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("moefuzz.harness"), keep_trailing_newline=True, undefined=jinja2.StrictUndefined,
    autoescape=False,  # noqa: S701 - what is made is Python and Markdown, no HTML
)  # fmt: skip
_MOST_NUMBERS = 20_000
_VALUES = tuple(kind for kinds in (WRONG_VALUE, NON_FINITE) for kind in kinds.values())


def script(failure: Failure, target: Target) -> str | None:
    """The script; None where a failure has none."""
    case = failure.case
    code = _code_of(target)
    if not isinstance(case, GroupedGemmCase) or case.relation or code is None:
        return None
    if not isinstance(failure, (Crash, CudaError, Hang, Raised, *_VALUES)):
        return None
    layouts = (case.x_layout, case.w_layout, case.dy_layout)
    problem = build_grouped_gemm(case)
    given = [name for name in ("X", "W", "m_sizes", "gather_indices", "topk_weights", "dY") if getattr(problem, name) is not None]
    if any(layout in FAR_AXES for layout in layouts) or sum(extent(getattr(problem, name)) for name in given) > _MOST_NUMBERS:
        return None
    said = keywords_of(problem, target)
    keywords = [f"{name}={name if name in given else repr(value)}" for name, value in said.items() if value is not None]
    if any("KernelConfig(" in keyword for keyword in keywords):
        code = f"from moefuzz.kernels.kernel_config import KernelConfig\n{code}"
    fails_by = "raising" if isinstance(failure, Raised) else "ending" if isinstance(failure, Crash | CudaError | Hang) else "value"
    template = TEMPLATES.get_template("reproduce_grouped_gemm.py.jinja")
    return template.render(
        finding=failure.finding, case=repr(case), own="moefuzz" in code, target=code, dtype=case.dtype,
        tensors=[(name, _literal(getattr(problem, name))) for name in given],
        leaves=[name for name in ("X", "W") if name in case.grads],
        keywords=keywords, fails_by=fails_by, gathers=problem.gather_indices is not None,
        x_row=f"slot // {case.topk}" if case.permute == "x" and case.is_first_gemm else "slot" if case.permute == "x" else "row",
        y_row="slot" if case.permute == "y" else "row",
        weighted=" * topk_weights.cpu().double().flatten()[slot][:, None]" if case.fuse_mul_post else "",
        **(_judged(failure, problem) if fails_by == "value" else {}),
    )  # fmt: skip


def shows(path: Path, failure: Failure, seconds: float = 60.0) -> str:
    """Run a script: empty if it shows the failure for which it was made, else what became of it, in one line."""
    try:
        command = [sys.executable, path.name]  # our own script
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, cwd=path.parent)  # noqa: S603
    except subprocess.TimeoutExpired:
        return "" if isinstance(failure, Hang) else f"it still ran after {seconds:.0f} s"
    said = (done.stdout.strip().splitlines() or [""])[-1]
    if isinstance(failure, Raised):
        expected = done.returncode == 1 and said.startswith(f"raised {failure.kind.partition(' ')[2]}:")
    elif isinstance(failure, Crash):
        expected = said == "" and done.returncode not in (0, 1)
    elif isinstance(failure, CudaError):
        expected = done.returncode == 1 and "CUDA error" in done.stderr
    else:
        expected = done.returncode == 1 and said == "wrong"
    last = said or (done.stderr.strip().splitlines() or ["nothing"])[-1]
    return "" if expected else f"it ended with {done.returncode} and said: {last}"


def _judged(failure: Failure, problem: GroupedGemmProblem) -> dict[str, Any]:
    """The worst element as an index of the tensor that the target returns, and between what it must lie."""
    assert failure.mismatch is not None and isinstance(failure.case, GroupedGemmCase)
    case, m, tensor = failure.case, failure.mismatch, str(failure.tensor)
    worst = m.worst
    if m.axes[:2] == ("expert", "row in expert"):
        row = sum(case.m_sizes[: worst[0]]) + worst[1]
        scattered = (tensor, case.permute) in (("Y", "y"), ("dX", "x"))
        if scattered and problem.gather_indices is not None and row < sum(case.m_sizes):
            row = int(problem.gather_indices[row])
        worst = (row, *worst[2:])
    got = {"Y": "Y", "dX": "X.grad", "dW": "W.grad"}[tensor]
    return {"got": got, "tensor": tensor, "worst": worst, "low": _number(m.low), "high": _number(m.high), "exact": m.bound == 0}


def _literal(tensor: torch.Tensor) -> str:
    numbers = ", ".join(map(_number, flat(tensor).tolist()))
    return f"tensor([{numbers}], {tensor.dtype}, {tuple(tensor.shape)}, {tensor.stride()})"


def _number(value: float) -> str:
    whole = math.isfinite(value) and value == int(value) and abs(value) < 1e6
    return str(int(value)) if whole else repr(value)


def _code_of(target: Target) -> str | None:
    """The lines that make ``target``: an import, or the source of an adapter without what it needs of moefuzz."""
    named = named_targets()
    spec = named[target.name].value if target.name in named else target.name
    module, colon, attribute = spec.partition(":")
    if not colon:
        return None
    home = imported(module)
    source = inspect.getsource(home)
    if "moefuzz" not in source or module.startswith(("moefuzz.kernels", "moefuzz.harness.faults", "moefuzz.harness.process_faults")):
        folder = Path(str(home.__file__)).parents[module.count(".")]
        where = "" if "site-packages" in str(folder) or module.startswith("moefuzz.") else f"sys.path.insert(0, {str(folder)!r})\n"
        given = f"from {module} import {attribute} as target"
        return where + given + ("\n\ntarget = target.function" if isinstance(getattr(home, attribute), Target) else "")
    return _without_moefuzz(source, target.function.__name__)


def _without_moefuzz(source: str, function: str) -> str | None:
    """A module without its imports of moefuzz and what is made with them; None if the function needs one of those."""
    kept, gone = [], set[str]()
    for node in ast.parse(source).body:
        used = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("moefuzz"):
            gone |= {alias.asname or alias.name for alias in node.names}
        elif used & gone and not isinstance(node, ast.Assign):
            return None
        elif not used & gone and not (isinstance(node, ast.ImportFrom) and node.module == "__future__") and not _is_text(node):
            kept.append(node)
    parts = [("\n\n" if isinstance(node, ast.FunctionDef | ast.ClassDef) else "") + ast.unparse(node) for node in kept]
    return "\n".join(parts) + f"\n\n\ntarget = {function}"


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
