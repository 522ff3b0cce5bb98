"""Compare the compiled stores of our kernels with those of the two mutants that swap the branches before the last store. Needs no GPU.

    python benchmarks/stores.py

The branches differ only in a promise of alignment. This compiles kernel and mutant for sm_90 and prints the widths of their stores. Without
alignment both store single elements, since no mask is known to be constant over more. With alignment the mutant only loses the wide stores,
which store the same values. This is the proof in ``equivalent_mutants.py`` that neither mutant changes a result.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import re
from collections import Counter
from typing import Any

import torch
import triton
from rich.console import Console
from rich.table import Table
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from moefuzz.harness.planted.mutants import mutants
from moefuzz.harness.targets import Target
from moefuzz.harness.targets.registry import OWN_TARGETS, load_target
from moefuzz.kernels.kernel_config import KernelConfig

KERNELS = {
    "grouped_gemm_rows": "ALIGNED -> not (ALIGNED) #4",
    "grouped_gemm_dw": "ALIGNED -> not (ALIGNED) #3",
}
CONFIGS = (
    KernelConfig(),
    KernelConfig(block_m=64, block_n=64, block_k=64),
    KernelConfig(block_m=128, block_n=128, block_k=64, num_warps=8, num_stages=3),
    KernelConfig(block_m=16, block_n=32, block_k=16, aligned=True),
    KernelConfig(block_m=64, block_n=64, block_k=64, num_warps=8, num_stages=3, aligned=True),
)
TYPES = {"float32": "*fp32", "bfloat16": "*bf16"}  # float16 is as wide as bfloat16


def stores(target: Target, kernel: str, config: KernelConfig, dtype: str) -> Counter[str]:
    """Return the number of stores by width, as PTX names them, in a target's compiled kernel without permutation and fused product."""
    package = target.function.__module__.rpartition(".")[0]
    function = getattr(importlib.import_module(f"{package}.{kernel}"), f"_{kernel}_kernel").fn
    flags: dict[str, Any] = dict.fromkeys(("GATHER", "SCATTER", "FUSE_MUL", "PERMUTE_X", "PERMUTE_Y", "W_ALONG_N"), False)
    flags |= {"ALIGNED": config.aligned, "BLOCK_M": config.block_m, "BLOCK_N": config.block_n, "BLOCK_K": config.block_k}
    data = {f"{name}_ptr": TYPES[dtype] for name in ("x", "w", "y", "dy", "dw", "row_weights")}
    names = list(inspect.signature(function).parameters)
    others = {name: "*i32" if name.endswith("_ptr") else "i64" if name.startswith("stride") else "i32" for name in names}
    signature = {name: "constexpr" if name in flags else data.get(name, others[name]) for name in names}
    source = ASTSource(
        triton.JITFunction(function),
        signature,
        constexprs={name: flags[name] for name in names if name in flags},
        attrs={(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if name.endswith("_ptr")},  # as torch allocates
    )
    options = {"num_warps": config.num_warps, "num_stages": config.num_stages}
    ptx = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]
    return Counter(re.findall(r"\bst\.global\.([.\w]*)", ptx))


def main() -> None:
    title = f"sm_90, triton {triton.__version__}, torch {torch.__version__}"
    table = Table("kernel", "config", "dtype", "stores", "the mutant's", title=title)
    for kernel, change in KERNELS.items():
        mutant = next(mutant for mutant in mutants() if mutant.file == f"{kernel}.py" and mutant.name.endswith(change))
        for config, dtype in itertools.product(CONFIGS, TYPES):
            pair = [stores(target, kernel, config, dtype) for target in (load_target(OWN_TARGETS["grouped_gemm"][0]), mutant.target())]
            tiles = f"{config.block_m}x{config.block_n}x{config.block_k}{' aligned' if config.aligned else ''}"
            widths = [", ".join(f"{count} {width}" for width, count in found.items()) for found in pair]
            table.add_row(kernel.removeprefix("grouped_gemm_"), tiles, dtype, *widths)
    Console().print(table)


if __name__ == "__main__":
    main()
