"""Measure the error of the expert weights' gradients of each experts implementation of transformers, by the tokens of one expert.

    python benchmarks/weight_gradients.py [--tokens 16 256 4096] [--dtype bfloat16]

Prints the largest error of down_proj's gradient relative to its largest entry: H = 32, I = 16, one expert that gets every token.
"""

from __future__ import annotations

import argparse

import torch
from rich.console import Console
from rich.table import Table

from moefuzz.harness.base.device import describe, device, versions
from moefuzz.harness.levels.cases import MoeBlockCase
from moefuzz.harness.levels.moe_block.oracle import bounds_of
from moefuzz.harness.levels.moe_block.problem import build_moe_block
from moefuzz.harness.levels.moe_block.run import run_moe_block
from moefuzz.harness.targets.registry import load_target

TARGETS = ("hugging_face_block", "transformers_batched_mm", "transformers_grouped_mm", "transformers_triton")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[16, 256, 4096])
    parser.add_argument("--dtype", default="bfloat16")
    options = parser.parse_args()
    console = Console()
    console.print(f"{describe()}: {versions()}", highlight=False, soft_wrap=True)
    table = Table("implementation", *(f"{tokens} tokens" for tokens in options.tokens), title=f"{options.dtype}, down_proj.grad")
    for name in TARGETS:
        errors = []
        for tokens in options.tokens:
            problem = build_moe_block(MoeBlockCase((tokens,), hidden_size=32, moe_intermediate_size=16, dtype=options.dtype))
            right = bounds_of(problem).down_proj_grad.value
            got = run_moe_block(problem, load_target(name), device()).backward.down_proj_grad.detach().cpu().double()
            errors.append(f"{float((got - right).abs().max() / right.abs().max()):.2%}")
        table.add_row(name, *errors)
    console.print(table)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
