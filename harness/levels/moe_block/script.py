"""The parts of the script of a block; its template is ``script.py.jinja`` in this folder."""

from __future__ import annotations

from pathlib import Path

from moefuzz.harness.levels.level import NoScript, ScriptParts
from moefuzz.harness.targets import Target

from .problem import MoeBlockProblem

TEMPLATE = Path(__file__).with_name("script.py.jinja").read_text(encoding="utf-8")
_TENSORS = {
    "output": ("output", "output_right.detach()"),
    "X_grad": ("X.grad", "x.grad"),
    "gate_grad": ("block.gate.weight.grad", "router.grad"),
    "gate_proj_grad": ("block.experts.gate_up_proj.grad[:, :I]", "w1.grad[:, :I]"),
    "up_proj_grad": ("block.experts.gate_up_proj.grad[:, I:]", "w1.grad[:, I:]"),
    "down_proj_grad": ("block.experts.down_proj.grad", "w2.grad"),
}
"""The tensors that every block exposes, and the same in float64."""


def script_parts(problem: MoeBlockProblem, tensor: str | None, target: Target) -> ScriptParts:
    """Return the parts of a script in which ``tensor`` is wrong. Raises NoScript for a tensor that only moefuzz's own blocks expose."""
    case = problem.case
    got, right = _TENSORS.get(str(tensor), ("", ""))
    if (tensor is not None and not got) or target.configurable:
        raise NoScript(f"{tensor or 'the target'} is seen inside of moefuzz's own blocks alone")
    shapes = {"output": problem.X, "X_grad": problem.X, "gate_grad": problem.gate, "down_proj_grad": problem.down_proj}
    half = problem.gate_up_proj[:, : case.moe_intermediate_size]
    return ScriptParts(
        {name: getattr(problem, name) for name in ("X", "gate", "gate_up_proj", "down_proj", "dY")},
        leaves=("X",),
        got=got or "output",
        right=right,
        of_run=tensor == "output",
        shape=tuple(shapes.get(str(tensor), half).shape),
        inputs=("X", "dY"),
        has_rows=case.T > 0,
        more={
            "act": case.act,
            "E": case.E,
            "topk": case.topk,
            "H": case.hidden_size,
            "I": case.moe_intermediate_size,
            "norm_topk_prob": case.norm_topk_prob,
        },
    )
