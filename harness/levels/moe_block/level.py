"""The ``Level`` of a whole block. It imports transformers, which takes longer than all other imports."""

from __future__ import annotations

from moefuzz.harness.levels.level import Level

from .oracle import moe_block_claims
from .problem import build_moe_block
from .relations import RELATIONS_BY_NAME
from .run import moe_block_tensors, run_moe_block
from .script import TEMPLATE, script_parts

LEVEL = Level(
    build=build_moe_block,
    run=run_moe_block,
    tensors=moe_block_tensors,
    claims=moe_block_claims,
    relations=RELATIONS_BY_NAME,
    script=script_parts,
    template=TEMPLATE,
)
