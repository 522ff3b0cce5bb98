"""TFLOP/s of the grouped GEMM beside torch.nn.functional.grouped_mm, in one run on one GPU: forward, dX, dW, uniform and power-law routing.

    python benchmarks/kernels.py [--sweep]

bfloat16, T = 4096, E = 128, topk = 8, K = 2048, N = 1536: the first GEMM of Qwen3-30B-A3B. Median of at least 50 launches each; the
operands are larger than the L2 cache. ``--sweep`` also times each candidate configuration by itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
import triton

from moefuzz.harness import data
from moefuzz.kernels.grouped_gemm import grouped_gemm
from moefuzz.kernels.kernel_config import DW_CONFIGS, DX_CONFIGS, FORWARD_CONFIGS, KernelConfig

T, E, TOPK, K, N = 4096, 128, 8, 2048, 1536
M = T * TOPK
FLOPS = 2 * M * K * N


def routing(kind: str) -> list[int]:
    """Rows of each expert: the same for all, or falling as 1 / (e + 1)."""
    shares = [1.0] * E if kind == "uniform" else [1 / (e + 1) for e in range(E)]
    counts = [int(M * share / sum(shares)) for share in shares]
    return [counts[0] + M - sum(counts), *counts[1:]]


def numbers(stream: int, *shape: int) -> torch.Tensor:
    """Random data; one row's worth of counter bits repeated would be too regular, so all of it is drawn."""
    return torch.from_numpy(data.values("normal", 0, stream, shape)).to("cuda", torch.bfloat16)


def tflops(call: Callable[[], object]) -> float:
    """Of one call, by the median of its launches."""
    return FLOPS / triton.testing.do_bench(call, warmup=100, rep=400, return_mode="median") / 1e9


def three_passes(forward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], X: torch.Tensor, W: torch.Tensor) -> list[float]:
    """TFLOP/s of forward, dX and dW."""
    with torch.no_grad():
        speeds = [tflops(lambda: forward(X, W))]
    for wanted in (0, 1):
        leaves = [tensor.detach().requires_grad_(i == wanted) for i, tensor in enumerate((X, W))]
        Y = forward(*leaves)
        dY = torch.ones_like(Y).mul_(0.5)
        speeds.append(tflops(lambda Y=Y, dY=dY, leaf=leaves[wanted]: torch.autograd.grad(Y, leaf, dY, retain_graph=True)))
    return speeds


def line(name: str, speeds: list[float]) -> None:
    print(f"{name:44}" + "".join(f"{speed:9.0f}" for speed in speeds), flush=True)  # noqa: T201


def sweep(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> None:
    """Each candidate by itself."""
    passes = (("forward", FORWARD_CONFIGS, "fwd", 0), ("dX", DX_CONFIGS, "bwd_dX", 1), ("dW", DW_CONFIGS, "bwd_dW", 2))
    for name, configs, keyword, which in passes:
        for config in configs:

            def forward(x: torch.Tensor, w: torch.Tensor, config: KernelConfig = config, keyword: str = keyword) -> torch.Tensor:
                return grouped_gemm(x, w, m_sizes, TOPK, **{f"kernel_config_{keyword}": config})  # type: ignore[arg-type]

            blocks = f"{config.block_m}x{config.block_n}x{config.block_k} warps {config.num_warps} stages {config.num_stages}"
            line(f"  {name} {blocks}", [three_passes(forward, X, W)[which]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweep", action="store_true", help="time each candidate configuration as well")
    arguments = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, triton {triton.__version__}")  # noqa: T201
    dense_a, dense_b = numbers(0, 8192, 8192), numbers(1, 8192, 8192)
    print(f"dense 8192: {2 * 8192**3 / triton.testing.do_bench(lambda: dense_a @ dense_b, return_mode='median') / 1e9:.0f} TFLOP/s")  # noqa: T201
    X, tokens, W = numbers(0, M, K), numbers(1, T, K), numbers(2, E, N, K)
    slots = torch.from_numpy(data.permutation(0, 3, M)).to("cuda", torch.int32)
    print(f"{'TFLOP/s':44}{'forward':>9}{'dX':>9}{'dW':>9}")  # noqa: T201
    for kind in ("uniform", "power law"):
        m_sizes = torch.tensor(routing(kind), dtype=torch.int32, device="cuda")
        ends = m_sizes.cumsum(0, dtype=torch.int32)
        line(f"torch grouped_mm, {kind}", three_passes(lambda x, w, o=ends: torch.nn.functional.grouped_mm(x, w.mT, offs=o), X, W))
        line(f"moefuzz, {kind}", three_passes(lambda x, w, m=m_sizes: grouped_gemm(x, w, m, TOPK), X, W))
        line(f"moefuzz, {kind}, autotune", three_passes(lambda x, w, m=m_sizes: grouped_gemm(x, w, m, TOPK, autotune=True), X, W))
        permuted = three_passes(lambda x, w, m=m_sizes: grouped_gemm(x, w, m, TOPK, slots, permute_x=True), tokens, W)
        line(f"moefuzz, {kind}, permute_x", permuted)
    if arguments.sweep:
        sweep(X, W, torch.tensor(routing("uniform"), dtype=torch.int32, device="cuda"))


if __name__ == "__main__":
    main()
