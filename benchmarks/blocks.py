"""Measure a whole Qwen3 MoE block with each experts implementation, in milliseconds, in one run on one GPU: forward, and with backward.

    python benchmarks/blocks.py [--model qwen3-30b] [--tokens 64 1024 4096 16384] [--graph] [--results FILE.json]
                                [--profile]

bfloat16, random hidden states and weights, so that the router spreads tokens evenly up to chance. A number is the median of 50 calls from
Python, or with ``--graph`` of replays of a CUDA graph, which measures the GPU's time alone; the implementations take turns. ``--profile``
also prints in which GPU kernels our block spends its time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import torch
from options import output_file, positive
from rich.table import Table
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeConfig, Qwen3MoeSparseMoeBlock

from kernels import MODELS, PASSES, captured, in_turn, normal, prepared, start
from moefuzz.harness.targets.adapters.transformers_experts import block_with
from moefuzz.kernels.experts import NAME

IMPLEMENTATIONS = ("grouped_mm", "batched_mm", NAME)


def block_of(model: str) -> Qwen3MoeSparseMoeBlock:
    """Return a block with weights as large as those at the start of training."""
    E, topk, hidden, intermediate = MODELS[model]
    config = Qwen3MoeConfig(
        num_experts=E, num_experts_per_tok=topk, hidden_size=hidden, moe_intermediate_size=intermediate, norm_topk_prob=True
    )
    with torch.device("meta"):
        block = Qwen3MoeSparseMoeBlock(config)
    block = block.to(torch.bfloat16).to_empty(device="cuda")
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_(std=0.02)
    return block


def calls(block: Qwen3MoeSparseMoeBlock, name: str, X: torch.Tensor, dY: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Return the calls that are measured with the experts implementation of that name, by pass."""
    leaves = [X, *block.parameters()]

    def output() -> torch.Tensor:
        Y = block_with(block, name)(X)
        return Y[0] if isinstance(Y, tuple) else Y

    def forward() -> None:
        with torch.no_grad():
            output()

    return {PASSES[0]: forward, "forward + backward": lambda: torch.autograd.grad(output(), leaves, dY)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="qwen3-30b")
    parser.add_argument("--tokens", nargs="+", type=positive, default=[64, 1024, 4096, 16384])
    parser.add_argument("--results", type=output_file, help="write all numbers there")
    parser.add_argument("--graph", action="store_true", help="replay a CUDA graph of each call, which leaves the GPU's time")
    parser.add_argument("--profile", action="store_true", help="print which GPU kernels our block spends its time in")
    options = parser.parse_args()
    console = start()
    block, results = block_of(options.model), list[dict[str, object]]()
    table = Table("T, pass", *IMPLEMENTATIONS, "grouped_mm / ours", title=f"{options.model}, milliseconds")
    for T in options.tokens:
        X, dY = normal(1, T, MODELS[options.model][2]).requires_grad_(), normal(1, T, MODELS[options.model][2])
        for which in ("forward", "forward + backward"):
            most = 1024 if options.graph and which == PASSES[0] else 64  # for one that copies the weights of each token's experts
            names = [name for name in IMPLEMENTATIONS if name != "batched_mm" or most >= T]
            called = {name: calls(block, name, X, dY)[which] for name in names}
            made = {name: captured(call) if options.graph else prepared(call) for name, call in called.items()}
            took = {name: 1e3 * seconds for name, seconds in in_turn(made).items()}
            del made
            torch.cuda.empty_cache()  # each graph has its own memory
            results += [{"T": T, "pass": which, "name": name, "ms": round(ms, 3)} for name, ms in took.items()]
            cells = [f"{took[name]:.2f}" if name in took else "-" for name in IMPLEMENTATIONS]
            table.add_row(f"{T}, {which}", *cells, f"{took['grouped_mm'] / took[NAME]:.2f}")
        if options.profile:
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
                for _ in range(5):
                    calls(block, NAME, X, dY)["forward + backward"]()
                torch.cuda.synchronize()
            console.print(f"T = {T}\n{profile.key_averages().table(sort_by='cuda_time_total', row_limit=22, max_name_column_width=70)}")
    console.print(table)
    if options.results:
        options.results.write_text("\n".join(map(json.dumps, results)) + "\n")


if __name__ == "__main__":
    main()
