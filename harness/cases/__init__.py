"""Cases: plain data that decides an outcome completely, with ``eval(repr(case)) == case`` and JSON both ways."""

from .base import (
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
from .grouped_gemm import GroupedGemmCase
from .moe import ExpertsCase, MoeBlockCase
from .text import Case, case_from_json, case_from_repr

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
    "round_up",
]
