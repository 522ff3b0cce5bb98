"""A failure as a script of its own: it builds the tensors, calls the target, says what is wrong, and exits with 1.

The tensors stand in the script as they lie in memory, so that strides and their gaps are the same; where they are large, in ``tensors.pt``
beside it. Values are compared with a loop in float64 that stands there too; what else can fail has a few lines that see it.
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

from moefuzz.harness.execution.memory import AROUND, extent, flat
from moefuzz.harness.failures import PASS_OF, Failure
from moefuzz.harness.failures.kinds import ENDS_A_PROCESS
from moefuzz.harness.levels.cases import FAR_AXES, GroupedGemmCase
from moefuzz.harness.levels.experts.oracle import DIFFERENTIABLE
from moefuzz.harness.levels.experts.problem import ExpertsProblem, build_experts
from moefuzz.harness.levels.grouped_gemm.oracle import keywords_of
from moefuzz.harness.levels.grouped_gemm.problem import GroupedGemmProblem, build_grouped_gemm, far_stride
from moefuzz.harness.levels.moe_block.problem import MoeBlockProblem, build_moe_block
from moefuzz.harness.targets import Target

from .related_call import NoScript, Second, at_fault, related
from .target_source import code_of

TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("moefuzz.harness.report"), keep_trailing_newline=True, undefined=jinja2.StrictUndefined,
    autoescape=False,  # noqa: S701 - what is made is Python and Markdown, no HTML
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
    """The text, the numbers that it reads from IN_FILE, and the file of the target that it looks for, which lies in ``home``."""

    text: str
    numbers: dict[str, torch.Tensor]
    file: str = ""
    home: Path | None = None

    def write(self, folder: Path) -> Path:
        """Write both, and return the path of the script. Raises OSError."""
        if self.numbers:
            torch.save(self.numbers, folder / IN_FILE)
        path = folder / "reproduce.py"
        path.write_text(self.text, encoding="utf-8", errors="backslashreplace")
        return path


def script(failure: Failure, target: Target, *, unrun: bool = False) -> Script:
    """The script of a failure. Of a relation the target is run to find the call that shows it, unless ``unrun``. Raises NoScript."""
    case, kind = failure.case, failure.kind
    if kind.unreproducible:
        raise NoScript("the failure did not come back")
    if kind.is_misuse:
        raise NoScript("moefuzz's sanitizer saw it, which watches each access of the kernel; the line above shows it")
    if kind.base not in _MODES:
        raise NoScript(_NO_MODE.get(kind.base, f"{kind.base} shows in moefuzz alone"))
    code = code_of(target)
    if code is None:
        raise NoScript("the target needs moefuzz, or has no name by which it is imported")
    if case.relation and unrun:
        raise NoScript(f"{case.relation!r} is a relation of two calls, and the target was not run for this page")
    mode, problem, second = _MODES[kind.base], _BUILD[case.level](case), None
    if mode == "related":
        second = related(failure, problem, target)
    elif mode == "differs" and case.relation not in ("", "repeated"):
        raise NoScript(f"the second call of {case.relation!r} is one that moefuzz makes in its own way")
    elif case.relation and mode != "differs":
        problem = at_fault(failure, problem, target)
    text, parts = code.text, _PARTS[case.level](problem, failure.tensor, target)
    if any("KernelConfig(" in keyword for keyword in parts["keywords"]):
        text = f"from moefuzz.kernels.kernel_config import KernelConfig\n{text}"
    tensors: dict[str, torch.Tensor] = parts["tensors"]
    stay = {name: tensor for name, tensor in tensors.items() if name not in parts["far"]}
    parts_2 = None if second is None else _PARTS[case.level](second.problem, second.tensor, target)
    of_second = {} if parts_2 is None else {f"second {name}": tensor for name, tensor in parts_2["tensors"].items()}
    in_file = sum(map(extent, (stay | of_second).values())) > _MOST_NUMBERS
    literals = {name: _literal(name, tensor, in_file=in_file) for name, tensor in stay.items()} | parts["far"]
    if mode == "shape" and failure.tensor and PASS_OF[failure.tensor] == "forward":
        parts["leaves"] = []  # what is returned has no gradient to be asked for
    template = TEMPLATES.get_template(f"reproduce/{case.level}.py.jinja")
    made = template.render(
        parts | {"far": bool(parts["far"])} | _second_call(template, second, parts_2, in_file=in_file),
        finding=failure.finding.replace("\\", "\\\\").replace('"', "'"), case=repr(case),
        target=text, needs_path="Path" in text, own="moefuzz" in text, mode=mode, dtype=f"torch.{case.dtype}",
        tensors=[(name, literals[name]) for name in tensors], in_file=IN_FILE if in_file else "", tensor=failure.tensor,
        float32_reductions=target.float32_reductions, around=AROUND["cpu"], **_judged(failure, parts),
    )  # fmt: skip
    numbers = {name: flat(tensor).clone() for name, tensor in (stay | of_second).items()} if in_file else {}
    return Script(re.sub(r"\n{4,}", "\n\n\n", made), numbers, code.file, code.home)


def shows(path: Path, failure: Failure, home: Path | None = None) -> str:
    """Run a script, ``home`` on PYTHONPATH: empty if it shows the failure for which it was made, else in one line what became of it."""
    kind = failure.kind
    seconds = 30.0 if kind.base == "Hang" else 120.0  # with all imports, and compiling
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
    if kind.base == "Raised":  # a message may have many lines
        expected = done.returncode == 1 and any(line.startswith(f"raised {kind.detail}:") for line in done.stdout.splitlines())
    elif kind.base == "Crash":
        expected = said == "" and done.returncode not in (0, 1)
    elif kind.base == "CudaError":
        expected = done.returncode == 1 and "CUDA error" in done.stderr
    else:
        expected = done.returncode == 1 and said == "wrong"
    last = said or (done.stderr.strip().splitlines() or ["nothing"])[-1]
    return "" if expected else f"it ended with {done.returncode} and said: {last}"


def _grouped_gemm(problem: GroupedGemmProblem, tensor: str | None, target: Target) -> dict[str, Any]:
    case = problem.case
    names = ("X", "W", "m_sizes", "gather_indices", "topk_weights", "dY")
    tensors = {name: getattr(problem, name) for name in names if getattr(problem, name) is not None}
    layouts = {"X": case.x_layout, "W": case.w_layout, "dY": case.dy_layout}
    said = keywords_of(problem, target)
    return {
        "tensors": tensors, "leaves": [name for name in ("X", "W") if name in case.grads], "has_rows": any(case.m_sizes),
        "far": {name: _far_literal(tensors[name], FAR_AXES[layout]) for name, layout in layouts.items() if layout in FAR_AXES},
        "keywords": [f"{name}={name if name in tensors else repr(value)}" for name, value in said.items() if value is not None],
        "inputs": list(tensors), "gathers": problem.gather_indices is not None,
        "x_row": f"slot // {case.topk}" if case.permute == "x" and case.is_first_gemm else "slot" if case.permute == "x" else "row",
        "y_row": "slot" if case.permute == "y" else "row",
        "weighted": " * topk_weights.cpu().double().flatten()[slot][:, None]" if case.fuse_mul_post else "",
        "got": {"Y": "Y", "dX": "X.grad", "dW": "W.grad"}.get(str(tensor), "Y"), "right": f"{tensor}_right",
        "of_run": tensor == "Y", "place": lambda worst: _unsorted(case, problem, str(tensor), worst),
        "shape": {"Y": (case.M, case.N), "dX": tuple(problem.X.shape), "dW": tuple(problem.W.shape)}.get(str(tensor), ()),
    }  # fmt: skip


def _experts(problem: ExpertsProblem, tensor: str | None, _: Target) -> dict[str, Any]:
    case = problem.case
    names = ("X", "topk_ids", "topk_weights", "gate_up_proj", "down_proj", "dY")
    tensors = {name: getattr(problem, name) for name in names}
    of = str(tensor).removesuffix("_grad")
    exact = {"X": "x", "topk_weights": "p", "gate_up_proj": "w1", "down_proj": "w2"}
    return {
        "tensors": tensors, "leaves": list(DIFFERENTIABLE[case.grads]), "has_rows": case.T > 0, "far": {}, "keywords": [],
        "inputs": list(tensors), "act": case.act, "got": f"{of}.grad" if of in exact else "output",
        "right": f"{exact[of]}.grad" if of in exact else "output_right.detach()", "of_run": of not in exact,
        "place": lambda worst: worst, "shape": tuple((tensors[of] if of in exact else problem.X).shape),
    }  # fmt: skip


def _moe_block(problem: MoeBlockProblem, tensor: str | None, target: Target) -> dict[str, Any]:
    case = problem.case
    got, right = _BLOCK_TENSORS.get(str(tensor), ("", ""))
    if (tensor is not None and not got) or target.configurable:
        raise NoScript(f"{tensor or 'the target'} is seen inside of moefuzz's own blocks alone")
    tensors = {name: getattr(problem, name) for name in ("X", "gate", "gate_up_proj", "down_proj", "dY")}
    shapes = {"output": problem.X, "X_grad": problem.X, "gate_grad": problem.gate, "down_proj_grad": problem.down_proj}
    return {
        "tensors": tensors, "leaves": ["X"], "has_rows": case.T > 0, "far": {}, "keywords": [], "inputs": ["X", "dY"], "act": case.act,
        "E": case.E, "topk": case.topk, "H": case.hidden_size, "I": case.moe_intermediate_size, "norm_topk_prob": case.norm_topk_prob,
        "got": got or "output", "right": right, "of_run": tensor == "output", "place": lambda worst: worst,
        "shape": tuple(shapes.get(str(tensor), problem.gate_up_proj[:, : case.moe_intermediate_size]).shape),
    }  # fmt: skip


_BLOCK_TENSORS = {
    "output": ("output", "output_right.detach()"), "X_grad": ("X.grad", "x.grad"), "gate_grad": ("block.gate.weight.grad", "router.grad"),
    "gate_proj_grad": ("block.experts.gate_up_proj.grad[:, :I]", "w1.grad[:, :I]"),
    "up_proj_grad": ("block.experts.gate_up_proj.grad[:, I:]", "w1.grad[:, I:]"),
    "down_proj_grad": ("block.experts.down_proj.grad", "w2.grad"),
}  # fmt: skip
_PARTS: dict[str, Any] = {"grouped_gemm": _grouped_gemm, "experts": _experts, "moe_block": _moe_block}
_BUILD: dict[str, Any] = {"grouped_gemm": build_grouped_gemm, "experts": build_experts, "moe_block": build_moe_block}


def _second_call(template: jinja2.Template, second: Second | None, parts: dict[str, Any] | None, *, in_file: bool) -> dict[str, Any]:
    """What the script needs for a second call, which may have other keywords: its tensors, its ``run``, and what is compared."""
    if second is None or parts is None:
        return {}
    if parts["far"]:
        raise NoScript("of two calls with operands gigabytes apart there is none")
    context = template.new_context(parts | {"dtype": f"torch.{second.problem.case.dtype}"})
    return {
        "second_tensors": [(name, _literal(f"second {name}", tensor, in_file=in_file)) for name, tensor in parts["tensors"].items()],
        "second_leaves": parts["leaves"], "second_run": "".join(template.blocks["run"](context)).strip(),
        "first_part": second.first_part, "second_part": second.second_part, "relation": second.relation,
    }  # fmt: skip


def _judged(failure: Failure, parts: dict[str, Any]) -> dict[str, Any]:
    """The worst element as an index of the tensor that the target returns, and between what it must lie."""
    dtype = f"torch.{failure.case.dtype}"
    said = {"shape_dtype": dtype, "got_of_run": "run()" if parts["of_run"] else f"(run(), {parts['got']})[1]"}
    m = failure.mismatch
    if m is None:
        return said | {"worst": (), "low": 0, "high": 0, "exact": True}
    return said | {"worst": parts["place"](m.worst), "low": _number(m.low), "high": _number(m.high), "exact": m.bound == 0}


def _unsorted(case: GroupedGemmCase, problem: GroupedGemmProblem, tensor: str, worst: tuple[int, ...]) -> tuple[int, ...]:
    """Where the target returns an element of a sorted row: (expert, row in expert, column) -> (row, column)."""
    if len(worst) != 3 or tensor == "dW":
        return worst
    row = sum(case.m_sizes[: worst[0]]) + worst[1]
    scattered = (tensor, case.permute) in (("Y", "y"), ("dX", "x"))
    if scattered and problem.gather_indices is not None and row < sum(case.m_sizes):
        row = int(problem.gather_indices[row])
    return (row, worst[2])


def _literal(name: str, tensor: torch.Tensor, *, in_file: bool) -> str:
    numbers = f'"{name}"' if in_file else f"[{', '.join(map(_number, flat(tensor).tolist()))}]"
    return f"tensor({numbers}, {tensor.dtype}, {tuple(tensor.shape)}, {tensor.stride()})"


def _far_literal(tensor: torch.Tensor, axis: int) -> str:
    numbers = ", ".join(map(_number, tensor.flatten().tolist()))
    return f"far([{numbers}], {tensor.dtype}, {tuple(tensor.shape)}, {tuple(far_stride(tensor, axis))})"


def _number(value: float) -> str:
    whole = math.isfinite(value) and value == int(value) and abs(value) < 1e6
    return str(int(value)) if whole else repr(value)
