"""What only a GPU can show: no host synchronisation, so a call can be captured in a CUDA graph; and no compile for a new shape."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, seed
from hypothesis import strategies as st
from triton.runtime.errors import OutOfResources

from moefuzz.harness.base.device import device
from moefuzz.harness.base.hypothesis_profiles import drawn
from moefuzz.harness.levels.cases import DTYPES, GroupedGemmCase
from moefuzz.harness.numerics.recipes import values
from moefuzz.harness.targets.registry import default_target
from moefuzz.harness.verdict.judge import check_here
from moefuzz.kernels.autotuning import Choice
from moefuzz.kernels.grouped_gemm import grouped_gemm
from moefuzz.kernels.grouped_gemm_details import (
    dw as grouped_gemm_dw,
)
from moefuzz.kernels.grouped_gemm_details import (
    dw_hopper,
    dw_tma,
    hopper_pipeline,
    rows_hopper,
    rows_tma,
)
from moefuzz.kernels.grouped_gemm_details import (
    rows as grouped_gemm_rows,
)
from moefuzz.kernels.kernel_config import FORWARD_CONFIGS, KernelConfig
from moefuzz.kernels.reference import grouped_gemm_reference
from moefuzz.strategies import grouped_gemm_cases

KINDS = ("pointers", "boxes", "specialised")
pytestmark = [
    pytest.mark.skipif(device().type != "cuda", reason="needs a CUDA GPU"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype"),
]


def numbers(stream: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(values("integers", 0, stream, shape)).cuda()


def test_a_captured_graph_follows_other_contents() -> None:
    X, W, sizes = numbers(0, 40, 48), numbers(1, 3, 32, 48), torch.tensor([20, 0, 20], dtype=torch.int32, device="cuda")
    X.requires_grad_()
    W.requires_grad_()
    for _ in range(2):  # compile outside the capture
        torch.autograd.grad(grouped_gemm(X, W, sizes, 1).sum(), (X, W))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        Y = grouped_gemm(X, W, sizes, 1)
        dX, dW = torch.autograd.grad(Y.sum(), (X, W))
    for counts in ([20, 0, 20], [1, 39, 0], [0, 0, 40], [13, 14, 13]):
        sizes.copy_(torch.tensor(counts))
        graph.replay()
        x, w = X.detach().requires_grad_(), W.detach().requires_grad_()
        expected = grouped_gemm_reference(x, w, sizes, 1)
        assert torch.equal(Y, expected) and all(map(torch.equal, (dX, dW), torch.autograd.grad(expected.sum(), (x, w))))


def test_a_call_does_not_synchronise() -> None:
    X, W, sizes = numbers(0, 40, 48).requires_grad_(), numbers(1, 3, 32, 48).requires_grad_(), torch.tensor([20, 0, 20], device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        grouped_gemm(X, W, sizes, 1).backward(torch.ones(40, 32, device="cuda"))
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("dtype", DTYPES)
def test_autotune_finds_a_config_that_fits_and_is_right_in_every_dtype(dtype: str) -> None:
    shapes = ((300, 256), (3, 256, 256), (300, 256))
    X, W, dY = (numbers(stream, *shape).sign().to(getattr(torch, dtype)) for stream, shape in enumerate(shapes))
    sizes, x, w = torch.tensor([200, 0, 100], device="cuda"), X.requires_grad_(), W.requires_grad_()
    tuned, expected = grouped_gemm(x, w, sizes, 1, autotune=True), grouped_gemm_reference(x, w, sizes, 1)
    assert torch.equal(tuned, expected)
    assert all(map(torch.equal, torch.autograd.grad(tuned, (x, w), dY), torch.autograd.grad(expected, (x, w), dY)))


def test_autotune_passes_over_tiles_that_the_gpu_has_no_room_for() -> None:
    def launch(config: KernelConfig) -> torch.Tensor:
        if config != FORWARD_CONFIGS[-1]:
            raise OutOfResources(300_000, 200_000, "shared memory")
        return X

    X, W = numbers(0, 256, 256), numbers(1, 1, 256, 256)
    assert Choice("forward", X, W, 256, 1, "no room").config(None, launch) == FORWARD_CONFIGS[-1]


@pytest.mark.skipif(not hopper_pipeline.is_there(device()), reason="needs a Hopper GPU")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("programs", [1, 3, 1000])
def test_specialised_warps_walk_over_all_tiles(monkeypatch: pytest.MonkeyPatch, programs: int, dtype: torch.dtype) -> None:
    for module in (rows_hopper, dw_hopper):
        monkeypatch.setattr(module, "programs_at_once", lambda _: programs)
    counts = [1, 0, 64, 65, 128, 129, 2200, 0]  # 2,200 are more tiles than stand in a band
    M, E, N, K = sum(counts) + 70, len(counts), 712, 776  # more steps than are left when the next tile is wanted
    X, W, dY = (numbers(stream, *shape).sign().to(dtype) for stream, shape in enumerate(((M, K), (E, N, K), (M, N))))
    X[sum(counts) :] = dY[sum(counts) :] = torch.nan
    x, w, sizes = X.requires_grad_(), W.requires_grad_(), torch.tensor(counts, device="cuda")
    plain = KernelConfig(64, 64, 64, num_stages=3)
    for columns in (64, 128, 256):
        tiles = (128, columns, 64), (128, 64, columns), (32, 128, columns)
        configs = [(plain,) * 3, [KernelConfig(*blocks, num_stages=4, tma=True, specialized=True) for blocks in tiles]]
        Ys = [
            grouped_gemm(x, w, sizes, 1, kernel_config_fwd=forward, kernel_config_bwd_dX=for_dx, kernel_config_bwd_dW=for_dw)
            for forward, for_dx, for_dw in configs
        ]
        results = [(Y, *torch.autograd.grad(Y, (x, w), dY)) for Y in Ys]
        assert all(map(torch.equal, *results)) and all(not result.isnan().any() for result in results[0])


def kind(config: KernelConfig, dtype: str, *, plain: bool) -> str:
    if config.specialized and plain and dtype != "float32" and hopper_pipeline.is_there(device()):
        return "specialised"
    return "boxes" if config.tma else "pointers"


def rows_variants(case: GroupedGemmCase) -> set[tuple[object, ...]]:
    """The compile keys of the row kernels that a case draws: dtypes, flags and config, nothing else; first which kernel it is."""
    x, y, fused = case.permute == "x", case.permute == "y", case.fuse_mul_post
    forward, for_dx, _ = case.configs
    assert forward is not None and for_dx is not None
    blocks, rest = (forward.block_m, forward.block_n, forward.block_k), (forward.num_warps, forward.num_stages)
    keys: set[tuple[object, ...]] = set()
    if case.M:
        # An aligned forward pass reads w along k; with K of 1 both axes are contiguous, but then nothing is aligned.
        which = kind(forward, case.dtype, plain=not (x or y or fused))
        keys.add((which, case.dtype, case.dtype, x, y, fused, False, x or y or fused, *blocks, *rest, forward.aligned))
        if "X" in case.grads:
            out, x = ("float32", False) if case.tokens_in else (case.dtype, x)  # rows of tokens stay sorted and are added up behind it
            along_n = for_dx.wide
            which = kind(for_dx, out, plain=not (x or y))
            keys.add((which, case.dtype, out, y, x, False, along_n, x or y, blocks[0], blocks[2], blocks[1], *rest, for_dx.aligned))
    return keys


def dw_variants(case: GroupedGemmCase) -> set[tuple[object, ...]]:
    config = case.config
    assert config is not None
    key = (kind(config, case.dtype, plain=case.permute == "none"), case.dtype, case.permute, config)
    return {key} if "W" in case.grads else set()


def compiled(kernel: object) -> int:
    caches = kernel.device_caches.values()  # type: ignore[attr-defined]
    return sum(len(cache[0]) for cache in caches)


def test_2000_cases_compile_what_they_drew_and_nothing_for_a_shape() -> None:
    rows = [
        grouped_gemm_rows._grouped_gemm_rows_kernel,
        rows_tma._grouped_gemm_rows_tma_kernel,
        rows_hopper._grouped_gemm_rows_hopper_kernel,
    ]
    dw = [
        grouped_gemm_dw._grouped_gemm_dw_kernel,
        dw_tma._grouped_gemm_dw_tma_kernel,
        dw_hopper._grouped_gemm_dw_hopper_kernel,
    ]
    for kernel in (*rows, *dw):
        kernel.device_caches.clear()
    drawn_rows: set[tuple[object, ...]] = set()
    drawn_dw: set[tuple[object, ...]] = set()

    @seed(0)
    @drawn(2_000)
    @given(grouped_gemm_cases(default_target(), data=st.just("integers")))
    def draw(case: GroupedGemmCase) -> None:
        check_here(case, default_target())  # where compiled variants can be counted
        drawn_rows.update(rows_variants(case))
        drawn_dw.update(dw_variants(case))

    draw()
    found = [[compiled(kernel) for kernel in kernels] for kernels in (rows, dw)]
    expected = [[sum(key[0] == which for key in keys) for which in KINDS] for keys in (drawn_rows, drawn_dw)]
    print(f"compiled {found[0]} row variants and {found[1]} dW variants of {KINDS}")  # noqa: T201
    assert found == expected
