"""Find bugs in Mixture-of-Experts GPU kernels: strategies draw a case, a target runs it, a float64 reference judges it.

Each name of ``__all__`` is imported when it is asked for: ``import moefuzz`` alone imports neither torch, Triton nor Hypothesis.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moefuzz.harness import (
        Agreement,
        BadTarget,
        CannotSanitize,
        ExpertsCase,
        Failure,
        Finding,
        GroupedGemmCase,
        KnownIssues,
        MoeBlockCase,
        Target,
        case_from_json,
        case_from_repr,
        check,
        failure_of,
        in_force,
        load_target,
        sanitize,
    )
    from moefuzz.strategies import (
        block_aligned_counts,
        blocks_like,
        configs_like,
        data_recipes,
        dimension_sizes,
        even_counts,
        expert_counts,
        expert_loads,
        experts_cases,
        fewer_rows_than_experts,
        free_counts,
        grouped_gemm_cases,
        kernel_configs,
        moe_block_cases,
        one_expert_takes_all,
        power_law_counts,
        starving_counts,
        tile_edge_counts,
        tile_edge_sizes,
        token_counts,
    )

    __version__: str

__all__ = [
    "Agreement",
    "BadTarget",
    "CannotSanitize",
    "ExpertsCase",
    "Failure",
    "Finding",
    "GroupedGemmCase",
    "KnownIssues",
    "MoeBlockCase",
    "Target",
    "__version__",
    "block_aligned_counts",
    "blocks_like",
    "case_from_json",
    "case_from_repr",
    "check",
    "configs_like",
    "data_recipes",
    "dimension_sizes",
    "even_counts",
    "expert_counts",
    "expert_loads",
    "experts_cases",
    "failure_of",
    "fewer_rows_than_experts",
    "free_counts",
    "grouped_gemm_cases",
    "in_force",
    "kernel_configs",
    "load_target",
    "moe_block_cases",
    "one_expert_takes_all",
    "power_law_counts",
    "sanitize",
    "starving_counts",
    "tile_edge_counts",
    "tile_edge_sizes",
    "token_counts",
]

_HERE = Path(__file__).parent
if not (_HERE / "harness").is_dir():  # a checkout, where the sub-packages lie beside this folder and not in it
    __path__.append(str(_HERE.parent))


def __getattr__(name: str) -> Any:
    if name == "__version__":
        try:
            return version("moefuzz")
        except PackageNotFoundError:
            raise AttributeError("moefuzz has no version: it is imported from a checkout that is not installed") from None
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    harness = importlib.import_module("moefuzz.harness")
    home = harness if name in harness.__all__ else importlib.import_module("moefuzz.strategies")
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
