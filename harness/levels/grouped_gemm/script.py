"""The parts of the script of a grouped GEMM; its template is ``script.py.jinja`` in this folder."""

from __future__ import annotations

from pathlib import Path

from moefuzz.harness.base.case import FAR_AXES
from moefuzz.harness.levels.level import ScriptParts
from moefuzz.harness.targets import Target

from .problem import GroupedGemmProblem
from .run import keywords_of

TEMPLATE = Path(__file__).with_name("script.py.jinja").read_text(encoding="utf-8")
_GOT = {"Y": "Y", "dX": "X.grad", "dW": "W.grad"}


def script_parts(problem: GroupedGemmProblem, tensor: str | None, target: Target) -> ScriptParts:
    """Return the parts of a script in which ``tensor`` is wrong."""
    case = problem.case
    names = ("X", "W", "m_sizes", "gather_indices", "topk_weights", "dY")
    tensors = {name: getattr(problem, name) for name in names if getattr(problem, name) is not None}
    keywords = keywords_of(problem, target)
    gathered = "slot" if case.permute == "x" else "row"
    return ScriptParts(
        tensors,
        leaves=tuple(name for name in ("X", "W") if name in case.grads),
        got=_GOT.get(str(tensor), "Y"),
        right=f"{tensor}_right",
        of_run=tensor == "Y",
        shape={"Y": (case.M, case.N), "dX": tuple(problem.X.shape), "dW": tuple(problem.W.shape)}.get(str(tensor), ()),
        inputs=tuple(tensors),
        has_rows=any(case.m_sizes),
        keywords=tuple(f"{name}={name if name in tensors else repr(value)}" for name, value in keywords.items() if value is not None),
        far={name: FAR_AXES[layout] for name, layout in case.layouts.items() if layout in FAR_AXES},
        place=lambda worst: _unsorted(problem, str(tensor), worst),
        more={
            "gathers": problem.gather_indices is not None,
            "x_row": f"slot // {case.topk}" if case.tokens_in else gathered,
            "y_row": "slot" if case.permute == "y" else "row",
            "weighted": " * topk_weights.cpu().double().flatten()[slot][:, None]" if case.fuse_mul_post else "",
        },
    )


def _unsorted(problem: GroupedGemmProblem, tensor: str, worst: tuple[int, ...]) -> tuple[int, ...]:
    """Return where the target's result holds an element of a sorted row: (expert, row in expert, column) -> (row, column)."""
    case = problem.case
    if len(worst) != 3 or tensor == "dW":
        return worst
    row = sum(case.m_sizes[: worst[0]]) + worst[1]
    scattered = (tensor, case.permute) in (("Y", "y"), ("dX", "x"))
    if scattered and problem.gather_indices is not None and row < sum(case.m_sizes):
        row = int(problem.gather_indices[row])
    return (row, worst[2])
