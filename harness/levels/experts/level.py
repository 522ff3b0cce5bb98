"""The ``Level`` of the experts of a block."""

from __future__ import annotations

from moefuzz.harness.levels.level import Level

from .oracle import experts_claims
from .problem import build_experts
from .relations import RELATIONS_BY_NAME
from .run import experts_tensors, run_experts
from .script import TEMPLATE, script_parts

LEVEL = Level(
    build=build_experts,
    run=run_experts,
    tensors=experts_tensors,
    claims=experts_claims,
    relations=RELATIONS_BY_NAME,
    script=script_parts,
    template=TEMPLATE,
)
