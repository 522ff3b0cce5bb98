"""Measure the TFLOP/s of our grouped GEMM and of others, in one run on one GPU: forward, dX and dW of both GEMMs of a block.

    python benchmarks/kernels.py [--models qwen3-30b qwen3-235b] [--tokens 64 1024 4096 16384] [--routing uniform power half]
                                 [--tuned [unsloth quack moefuzz]] [--eager] [--rounds 50] [--results FILE.json] [--plot FILE.png]
                                 [--roofline FILE.png]

bfloat16, random data. A number is the median of ``--rounds`` calls, with the L2 cache cleared before each; all contenders take turns, so
that the GPU is equally warm for each. A call is what a user calls, schedule and autograd included, captured in a CUDA graph, so that only
the GPU's time counts; with ``--eager`` it is called from Python each time.
``uniform``: each expert has the same rows; ``power``: rows fall as 1 / (e + 1); ``half``: the first expert has half of them. ``last``, only
if it is asked for: the last one has half of them.
Others are measured if they can be imported: torch.nn.functional.grouped_mm; unsloth's kernels, the best of three configurations with TMA
loads; quack's, which SonicMoE uses, in its default configuration. ``--tuned`` adds those named (without a name: ours, unsloth's and
quack's) with their own autotuning for each shape, which takes minutes per shape if nothing is compiled yet.
The ceiling is the lower of the compute limit, a dense product of 8192 measured in the same run, and the memory limit: all operands and the
result moved once, at the measured rate of a copy. The last table has the ratios of ours to each of the others; kernel_tables.py makes it
from several runs with different shapes.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TypeVar

import torch
from kernel_plots import PASSES, by_tokens, rooflines
from kernel_tables import ratios, speeds
from options import output_file, picture, positive
from rich.console import Console
from rich.table import Table

from moefuzz.harness.base.device import describe, versions
from moefuzz.kernels.grouped_gemm import grouped_gemm

MODELS = {"qwen3-30b": (128, 8, 2048, 768), "qwen3-235b": (128, 8, 4096, 1536)}  # E, topk, hidden size, intermediate size
ROUTINGS = ("uniform", "power", "half")
TUNED = ("unsloth", "quack", "moefuzz")
CALLS = 50
Key = TypeVar("Key")
Gemm = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
Calls = dict[str, list[Callable[[], object]]]
"""The calls of each pass, of which the fastest counts."""
Contender = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], Calls]  # X [M, K], W [E, N, K], dY [M, N], m_sizes [E]


@dataclass(frozen=True)
class Shape:
    """One GEMM of a block: M rows, and N x K of each expert."""

    model: str
    tokens: int
    routing: str
    gemm: str  # "gate_up" or "down"

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """The sizes E, M, N, K."""
        E, topk, hidden, intermediate = MODELS[self.model]
        return (E, self.tokens * topk, *((2 * intermediate, hidden) if self.gemm == "gate_up" else (hidden, intermediate)))

    def rows(self) -> list[int]:
        """The rows of each expert."""
        E, M, _, _ = self.sizes
        shares = [1 / (e + 1) for e in range(E)] if self.routing == "power" else [1.0] * E
        if self.routing in ("half", "last"):
            shares[0] = E - 1.0
        counts = [int(M * share / sum(shares)) for share in shares]
        counts[0] += M - sum(counts)
        return counts[::-1] if self.routing == "last" else counts

    def intensity(self, which: str) -> float:
        """Return operations per byte that a pass must move: operands and result once, and of W only the experts with rows."""
        E, M, N, K = self.sizes
        experts = E if which == "dW" else sum(count > 0 for count in self.rows())
        return M * N * K / (M * K + M * N + experts * N * K)


def by_autograd(gemm: Gemm) -> Contender:
    def calls(X: torch.Tensor, W: torch.Tensor, dY: torch.Tensor, m_sizes: torch.Tensor) -> Calls:
        def forward() -> None:
            with torch.no_grad():
                gemm(X, W, m_sizes)

        made: Calls = {"forward": [forward]}
        for which in PASSES[1:]:
            x, w = X.detach().requires_grad_(which == "dX"), W.detach().requires_grad_(which == "dW")
            Y, leaf = gemm(x, w, m_sizes), x if which == "dX" else w
            made[which] = [lambda Y=Y, leaf=leaf: torch.autograd.grad(Y, leaf, dY, retain_graph=True)]  # type: ignore[misc]
        return made

    return calls


def unsloth(X: torch.Tensor, W: torch.Tensor, dY: torch.Tensor, m_sizes: torch.Tensor) -> Calls:
    """Return the calls of unsloth's kernels with TMA loads, for three configurations of tiles of M, N, K, warps and stages."""
    from unsloth.kernels.moe.grouped_gemm import interface

    def tiles(*numbers: int) -> dict[str, int]:
        return dict(zip(("BLOCK_SIZE_M", "BLOCK_SIZE_N", "BLOCK_SIZE_K", "num_warps", "num_stages"), numbers, strict=True))

    few = X.shape[0] < 64 * W.shape[0]
    rows = (
        [(16, 128, 64, 4, 4), (32, 128, 64, 4, 4), (64, 128, 64, 4, 4)]
        if few
        else [(128, 128, 64, 8, 3), (128, 128, 64, 8, 4), (128, 256, 64, 8, 3)]
    )
    of_dw = [(32, 128, 128, 8, 3), (64, 128, 128, 8, 3), (64, 128, 256, 8, 3)]
    forward, dX, dW = interface.grouped_gemm_forward, interface.grouped_gemm_dX, interface.grouped_gemm_dW
    in_x, in_dy = {"use_tma_load_x": True, "use_tma_load_w": True}, {"use_tma_load_dy": True, "use_tma_load_w": True}
    in_both = {"use_tma_load_dy": True, "use_tma_load_x": True}
    return {
        "forward": [lambda c=c: forward(X, W, 1, m_sizes, **tiles(*c), **in_x) for c in rows],
        "dX": [lambda c=(m, k, n, *rest): dX(dY, W, None, m_sizes, 1, **tiles(*c), **in_dy) for m, n, k, *rest in rows],
        "dW": [lambda c=c: dW(X, dY, m_sizes, None, 1, **tiles(*c), **in_both) for c in of_dw],
    }  # type: ignore[misc]


def unsloth_autotuned(X: torch.Tensor, W: torch.Tensor, dY: torch.Tensor, m_sizes: torch.Tensor) -> Calls:
    """Return the calls of unsloth's kernels with their own autotuning, without TMA loads."""
    from unsloth.kernels.moe.grouped_gemm import interface

    for name, kernel in vars(interface).items():
        if name.startswith("_autotuned_"):
            kernel.cache.clear()  # else it would not tune again for another number of rows
    return {
        "forward": [lambda: interface.grouped_gemm_forward(X, W, 1, m_sizes, autotune=True)],
        "dX": [lambda: interface.grouped_gemm_dX(dY, W, None, m_sizes, 1, autotune=True)],
        "dW": [lambda: interface.grouped_gemm_dW(X, dY, m_sizes, None, 1, autotune=True)],
    }


def quack(X: torch.Tensor, W: torch.Tensor, dY: torch.Tensor, m_sizes: torch.Tensor, *, tuned: bool = False) -> Calls:
    from quack.gemm_interface import gemm

    ends = torch.nn.functional.pad(m_sizes.cumsum(0, dtype=torch.int32), (1, 0))
    Y, dX, dW = torch.empty_like(dY), torch.empty_like(X), torch.empty_like(W)
    return {
        "forward": [lambda: gemm(X, W.mT, out=Y, cu_seqlens_m=ends, tuned=tuned)],
        "dX": [lambda: gemm(dY, W, out=dX, cu_seqlens_m=ends, tuned=tuned)],
        "dW": [lambda: gemm(dY.T, X, out=dW, cu_seqlens_k=ends, tuned=tuned)],
    }


def contenders(tuned: Sequence[str]) -> dict[str, Contender]:
    """Return by name what can be measured here, and as "NAME, tuned" those of ``tuned``."""
    found = {
        "torch": by_autograd(lambda X, W, m: torch.nn.functional.grouped_mm(X, W.mT, offs=m.cumsum(0, dtype=torch.int32))),
        "unsloth": unsloth,
        "unsloth, tuned": unsloth_autotuned,
        "quack": quack,
        "quack, tuned": partial(quack, tuned=True),
        "moefuzz": by_autograd(lambda X, W, m: grouped_gemm(X, W, m, 1)),
        "moefuzz, tuned": by_autograd(lambda X, W, m: grouped_gemm(X, W, m, 1, autotune=True)),
    }
    here = {name for name in found if name.startswith(("torch", "moefuzz")) or importlib.util.find_spec(name.split(",")[0])}
    asked = {f"{name}, tuned" for name in tuned}
    return {name: contender for name, contender in found.items() if name in here and (name in asked or "tuned" not in name)}


def in_turn(calls: Mapping[Key, Callable[[], object]], rounds: int = CALLS) -> dict[Key, float]:
    """Return the median seconds of each call; the calls take turns, and the L2 cache is cleared before each."""
    cache = torch.empty(256 << 20, dtype=torch.int8, device="cuda")
    taken: dict[Key, list[tuple[torch.cuda.Event, torch.cuda.Event]]] = {key: [] for key in calls}
    for _ in range(rounds):
        for key, call in calls.items():
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            cache.zero_()
            begin.record()
            call()
            end.record()
            taken[key].append((begin, end))
    torch.cuda.synchronize()
    return {key: statistics.median(begin.elapsed_time(end) for begin, end in times) / 1e3 for key, times in taken.items()}


def normal(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="cuda", dtype=torch.bfloat16).normal_()


def start() -> Console:
    """Prepare a run and return its console: fixed seed, and all work in one stream, which can be captured with its backward passes."""
    if not torch.cuda.is_available():
        sys.exit("this benchmark needs a CUDA GPU")
    torch.manual_seed(0)
    torch.cuda.set_stream(torch.cuda.Stream())
    console = Console(width=140)
    console.print(f"{describe()}: {versions()}", highlight=False, soft_wrap=True)
    return console


def prepared(call: Callable[[], object]) -> Callable[[], object]:
    """Return the call after a warm-up, so that all one-time work such as compilation is done."""
    for _ in range(2):
        call()
    return call


def captured(call: Callable[[], object]) -> Callable[[], object]:
    """Return the call as a CUDA graph."""
    prepared(call)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        call()
    return graph.replay


def measured(
    shape: Shape, contenders: dict[str, Contender], rounds: int, *, eager: bool, say: Callable[[str], None]
) -> dict[tuple[str, str], float]:
    """Return the TFLOP/s by name and pass; ``say`` is called with each step as text."""
    E, M, N, K = shape.sizes
    X, W, dY = normal(M, K), normal(E, N, K), normal(M, N)
    m_sizes = torch.tensor(shape.rows(), dtype=torch.int32, device="cuda")
    found: dict[tuple[str, str], float] = {}
    made = {name: contender(X, W, dY, m_sizes) for name, contender in contenders.items()}  # they hold what the graphs read
    for which in PASSES:
        calls: dict[tuple[str, int], Callable[[], object]] = {}
        for name, i, call in ((name, i, call) for name, passes in made.items() for i, call in enumerate(passes[which])):
            say(f"{shape.model}, {shape.gemm}, {shape.routing}, T = {shape.tokens}, {which}: {name}")
            try:
                calls[name, i] = prepared(call) if eager else captured(call)
            except Exception as error:
                print(f"{name}, {which}, {shape}: {type(error).__name__}: {str(error).splitlines()[:1]}"[:200])  # noqa: T201
        for (name, _), took in in_turn(calls, rounds).items():
            found[name, which] = max(found.get((name, which), 0.0), 2 * M * N * K / took / 1e12)
        del calls
        torch.cuda.empty_cache()  # each graph has its own memory
    return found


def ceilings() -> tuple[float, float]:
    """Return the measured floating-point operations, and bytes, per second."""
    a, b = normal(8192, 8192), normal(8192, 8192)
    source, target = normal(1 << 30), normal(1 << 30)
    took = in_turn({"product": lambda: a @ b, "copy": lambda: target.copy_(source)})
    return 2 * 8192**3 / took["product"], 4 * source.numel() / took["copy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--tokens", nargs="+", type=positive, default=[64, 1024, 4096, 16384])
    parser.add_argument("--routing", nargs="+", choices=(*ROUTINGS, "last"), default=ROUTINGS)
    parser.add_argument("--tuned", nargs="*", choices=TUNED, help="measure these as they tune themselves as well")
    parser.add_argument("--eager", action="store_true", help="call from Python each time, rather than replay a CUDA graph")
    parser.add_argument("--rounds", type=positive, default=CALLS, help="calls of which a number is the median")
    parser.add_argument("--results", type=output_file, help="write all numbers there")
    parser.add_argument("--plot", type=picture, help="draw them there, by tokens")
    parser.add_argument("--roofline", type=picture, help="draw them there, by operations for each byte, under the ceilings")
    options = parser.parse_args()
    gemms = contenders(TUNED if options.tuned == [] else options.tuned or ())
    if missing := [name for name in options.tuned or () if f"{name}, tuned" not in gemms]:
        parser.error(f"not installed: {', '.join(missing)}")
    if options.plot and "uniform" not in options.routing:
        parser.error("--plot draws uniform routing, which is not among --routing")
    console = start()
    flops, bytes_ = ceilings()
    console.print(f"dense product of 8192: {flops / 1e12:.0f} TFLOP/s; copy: {bytes_ / 1e12:.2f} TB/s", highlight=False)
    results: list[dict[str, object]] = []
    for model, tokens in dict.fromkeys(itertools.product(options.models, options.tokens)):
        table = Table("GEMM, routing", "pass", *gemms, "ceiling", title=f"{model}, T = {tokens}, TFLOP/s")
        for gemm, routing in dict.fromkeys(itertools.product(("gate_up", "down"), options.routing)):
            shape = Shape(model, tokens, routing, gemm)
            ceiling = {which: min(flops, shape.intensity(which) * bytes_) / 1e12 for which in PASSES}
            with console.status("") as status:
                found = measured(shape, gemms, options.rounds, eager=options.eager, say=status.update)
            results += [
                asdict(shape)
                | {"name": name, "pass": which, "tflops": round(speed, 3), "ceiling": round(ceiling[which], 1)}
                | {"intensity": round(shape.intensity(which), 1)}
                for (name, which), speed in found.items()
            ]
            for which in PASSES:
                cells = [f"{found[name, which]:.1f}" if (name, which) in found else "-" for name in gemms]
                table.add_row(f"{gemm}, {routing}", which, *cells, f"{ceiling[which]:.1f}", end_section=which == PASSES[-1])
            torch.cuda.empty_cache()
            if options.results:
                options.results.write_text("\n".join(map(json.dumps, results)) + "\n")
        console.print(table)
    console.print("\n".join(ratios(speeds(results))), highlight=False, soft_wrap=True)
    if options.plot:
        by_tokens(results, options.plot)
    if options.roofline:
        rooflines(results, flops / 1e12, bytes_ / 1e12, options.roofline)


if __name__ == "__main__":
    main()
