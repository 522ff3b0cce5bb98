"""The case classes of all levels of this package, and the choices of their fields, in one import."""

from moefuzz.harness.base.case import (
    ACTS,
    DTYPES,
    DY_LAYOUTS,
    FAR_AXES,
    FAR_DY_LAYOUTS,
    FAR_LAYOUTS,
    FORMAT_VERSION,
    LAYOUTS,
    PERMUTES,
    RECIPES,
    Case,
    round_up,
)
from moefuzz.harness.base.case_text import case_from_json, case_from_repr, case_kinds

from .experts.case import EXPERTS_GRADS, EXPERTS_RELATIONS, ExpertsCase
from .grouped_gemm.case import GRADS, ORDERS, RELATIONS, GroupedGemmCase
from .moe_block.case import BLOCK_RELATIONS, LOGIT_SIGNS, MoeBlockCase
from .routed.case import BLOCK_RECIPES

__all__ = [
    "ACTS",
    "BLOCK_RECIPES",
    "BLOCK_RELATIONS",
    "DTYPES",
    "DY_LAYOUTS",
    "EXPERTS_GRADS",
    "EXPERTS_RELATIONS",
    "FAR_AXES",
    "FAR_DY_LAYOUTS",
    "FAR_LAYOUTS",
    "FORMAT_VERSION",
    "GRADS",
    "LAYOUTS",
    "LOGIT_SIGNS",
    "ORDERS",
    "PERMUTES",
    "RECIPES",
    "RELATIONS",
    "Case",
    "ExpertsCase",
    "GroupedGemmCase",
    "MoeBlockCase",
    "case_from_json",
    "case_from_repr",
    "case_kinds",
    "round_up",
]
