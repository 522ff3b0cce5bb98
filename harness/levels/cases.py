"""Cases: plain data that decides an outcome completely, with ``eval(repr(case)) == case`` and JSON both ways."""

from moefuzz.harness.base.case import (
    ACTS,
    BLOCK_RECIPES,
    BLOCK_RELATIONS,
    DTYPES,
    DY_LAYOUTS,
    EXPERTS_GRADS,
    EXPERTS_RELATIONS,
    FAR_AXES,
    FAR_DY_LAYOUTS,
    FAR_LAYOUTS,
    FORMAT_VERSION,
    GRADS,
    LAYOUTS,
    LOGIT_SIGNS,
    ORDERS,
    PERMUTES,
    RECIPES,
    RELATIONS,
    round_up,
)

from .case_text import KINDS, Case, case_from_json, case_from_repr
from .grouped_gemm.case import GroupedGemmCase
from .routed_case import ExpertsCase, MoeBlockCase

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
    "KINDS",
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
    "round_up",
]
