"""The parts of the script of the experts; its template is ``script.py.jinja`` in this folder."""

from __future__ import annotations

from pathlib import Path

from moefuzz.harness.levels.level import ScriptParts
from moefuzz.harness.targets import Target

from .problem import INPUTS, ExpertsProblem
from .run import DIFFERENTIABLE

TEMPLATE = Path(__file__).with_name("script.py.jinja").read_text(encoding="utf-8")
_RIGHT = {"X": "x", "topk_weights": "p", "gate_up_proj": "w1", "down_proj": "w2"}


def script_parts(problem: ExpertsProblem, tensor: str | None, _: Target) -> ScriptParts:
    """Return the parts of a script in which ``tensor`` is wrong."""
    case, of = problem.case, str(tensor).removesuffix("_grad")
    tensors = {name: getattr(problem, name) for name in INPUTS}
    return ScriptParts(
        tensors,
        leaves=DIFFERENTIABLE[case.grads],
        got=f"{of}.grad" if of in _RIGHT else "output",
        right=f"{_RIGHT[of]}.grad" if of in _RIGHT else "output_right.detach()",
        of_run=of not in _RIGHT,
        shape=tuple((tensors[of] if of in _RIGHT else problem.X).shape),
        inputs=tuple(tensors),
        has_rows=case.T > 0,
        more={"act": case.act},
    )
