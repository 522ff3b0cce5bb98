"""The ``Level`` of a grouped GEMM."""

from __future__ import annotations

from moefuzz.harness.levels.level import Level

from .oracle import grouped_gemm_claims
from .problem import build_grouped_gemm
from .relations import RELATIONS_BY_NAME
from .run import grouped_gemm_tensors, run_grouped_gemm
from .script import TEMPLATE, script_parts

LEVEL = Level(
    build=build_grouped_gemm,
    run=run_grouped_gemm,
    tensors=grouped_gemm_tensors,
    claims=grouped_gemm_claims,
    relations=RELATIONS_BY_NAME,
    script=script_parts,
    template=TEMPLATE,
)
