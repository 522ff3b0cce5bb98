"""Claims about our own op that no property over targets makes: its refusals, its corners, its configs."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import torch

from moefuzz.harness.base.device import device
from moefuzz.harness.numerics.recipes import values
from moefuzz.kernels.autotuning import Choice
from moefuzz.kernels.grouped_gemm import grouped_gemm
from moefuzz.kernels.grouped_gemm_details import hopper_pipeline
from moefuzz.kernels.grouped_gemm_details.hopper_configs import hopper_configs
from moefuzz.kernels.kernel_config import DW_CONFIGS, DX_CONFIGS, FORWARD_CONFIGS, INTERPRETER_CONFIG, SAFE_CONFIG, KernelConfig
from moefuzz.kernels.reference import grouped_gemm_reference

DEVICE = device()
X = torch.from_numpy(values("integers", 0, 0, (4, 8))).to(DEVICE)
W = torch.from_numpy(values("integers", 0, 1, (2, 3, 8))).to(DEVICE)
SIZES = torch.tensor([3, 1], dtype=torch.int32, device=DEVICE)
SLOTS = torch.tensor([2, 0, 3, 1], device=DEVICE)
WEIGHTS = torch.full((4, 1), 0.5, device=DEVICE)

REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "rank of X": ({"X": X[0]}, ValueError, "X must have 2 dimensions, got shape (8,)"),
    "rank of W": ({"W": W[0]}, ValueError, "W must have 3 dimensions, got shape (3, 8)"),
    "K": ({"X": X[:, :7]}, ValueError, "X has 7 columns but W has K = 8"),
    "E": ({"m_sizes": SIZES[:1]}, ValueError, "one entry for each of the 2 experts of W, got 1"),
    "M": ({"X": X[:1].expand(2**31 - 1, 8)}, ValueError, "M, N and K must be at most 2**31 - 2**16, got 2147483647, 3 and 8"),
    "large K": ({"X": X[:, :1].expand(4, 2**31 - 1), "W": W[:, :, :1].expand(2, 3, 2**31 - 1)}, ValueError, "got 4, 3 and 2147483647"),
    "dtype of X": (
        {"X": X.double()},
        TypeError,
        "X must be one of ['torch.float32', 'torch.float16', 'torch.bfloat16'], got torch.float64",
    ),
    "dtype of W": ({"W": W.half()}, TypeError, "W must have X's dtype torch.float32, got torch.float16"),
    "dtype of m_sizes": ({"m_sizes": SIZES.float()}, TypeError, "m_sizes must be int32 or int64, got torch.float32"),
    "device": ({"m_sizes": SIZES.to("meta")}, ValueError, "m_sizes must be on X's device"),
    "topk": ({"topk": 0}, ValueError, "topk must be at least 1, got 0"),
    "both permutes": ({"permute_x": True, "permute_y": True}, ValueError, "permute_x and permute_y exclude each other"),
    "no gather_indices": ({"permute_y": True}, ValueError, "gather_indices is needed for permute_x, permute_y and fuse_mul_post, got None"),
    "gather_indices": ({"permute_y": True, "gather_indices": SLOTS[:2]}, ValueError, "gather_indices must have shape (4,), got (2,)"),
    "no weights": ({"fuse_mul_post": True, "gather_indices": SLOTS}, ValueError, "topk_weights is needed for fuse_mul_post, got None"),
    "weights": (
        {"fuse_mul_post": True, "gather_indices": SLOTS, "topk_weights": WEIGHTS[:3]},
        ValueError,
        "topk_weights must hold 4 weights, one for each row, got shape (3, 1)",
    ),
    "fused with grad": (
        {"X": X.clone().requires_grad_(), "fuse_mul_post": True, "gather_indices": SLOTS, "topk_weights": WEIGHTS},
        ValueError,
        "fuse_mul_post has no backward pass",
    ),
    "sum of m_sizes": ({"m_sizes": SIZES + 1, "validate": True}, ValueError, "the sum of m_sizes must be at most M = 4, got 6"),
    "negative size": ({"m_sizes": SIZES - 2, "validate": True}, ValueError, "m_sizes must not be negative, got -1"),
    "index range": ({"permute_y": True, "gather_indices": SLOTS + 1, "validate": True}, ValueError, "[0, 4), got values from 1 to 4"),
    "repeated slot": ({"permute_y": True, "gather_indices": SLOTS // 2, "validate": True}, ValueError, "not repeat a slot, got 2 repeats"),
    "alignment": ({"kernel_config_fwd": KernelConfig(aligned=True)}, ValueError, "is aligned, but not so the operands of forward"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_with_its_values(name: str) -> None:
    arguments, error, message = REFUSED[name]
    with pytest.raises(error, match=re.escape(message)):
        grouped_gemm(**{"X": X, "W": W, "m_sizes": SIZES, "topk": 1, **arguments})


@pytest.mark.parametrize("sizes_dtype", [torch.int32, torch.int64])
def test_valid_arguments_pass_validation(sizes_dtype: torch.dtype) -> None:
    y = grouped_gemm(X, W, SIZES.to(sizes_dtype), 1, SLOTS, permute_y=True, validate=True)
    assert torch.equal(y, grouped_gemm_reference(X, W, SIZES, 1, SLOTS, permute_y=True))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_sizes_and_slots_may_be_strided_views(dtype: torch.dtype) -> None:
    sizes, slots = (torch.stack((t, t + 100), 1).to(dtype)[:, 0] for t in (SIZES, SLOTS))
    assert not sizes.is_contiguous() and not slots.is_contiguous()
    y = grouped_gemm(X, W, sizes, 1, slots, permute_y=True)
    assert torch.equal(y, grouped_gemm_reference(X, W, SIZES, 1, SLOTS, permute_y=True))


def test_the_gradient_of_an_empty_expert_is_exactly_zero() -> None:
    w = W.clone().requires_grad_()
    grouped_gemm(X, w, torch.tensor([0, 4], device=DEVICE), 1).sum().backward()
    assert w.grad is not None and not w.grad[0].any() and w.grad[1].any()


def test_a_second_backward_pass_adds_to_the_first() -> None:
    x, w = X.clone().requires_grad_(), W.clone().requires_grad_()
    for _ in range(2):
        grouped_gemm(x, w, SIZES, 1).sum().backward()
    x2, w2 = X.clone().requires_grad_(), W.clone().requires_grad_()
    (2 * grouped_gemm_reference(x2, w2, SIZES, 1)).sum().backward()
    assert x.grad is not None and torch.equal(x.grad, x2.grad) and torch.equal(w.grad, w2.grad)  # type: ignore[arg-type]


def test_autotune_gives_the_same_result() -> None:
    assert torch.equal(grouped_gemm(X, W, SIZES, 1, autotune=True), grouped_gemm(X, W, SIZES, 1))


def test_without_a_config_operands_that_are_not_aligned_get_the_masked_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = Choice("forward", X, W, 4, 2, ()).config(None, None)
    monkeypatch.setattr("moefuzz.kernels.triton_interpreter.in_force", lambda: False)
    wide = torch.zeros(2, 64, 64), torch.zeros(2, 64, 64)
    assert chosen in {INTERPRETER_CONFIG, SAFE_CONFIG}
    assert Choice("forward", X, W, 4, 2, ()).config(None, None) == SAFE_CONFIG
    assert Choice("forward", wide[0][0], wide[1], 64, 2, ()).config(None, None) == FORWARD_CONFIGS[0]
    assert Choice("forward", wide[0][0].mT, wide[1], 64, 2, ()).config(None, None) == SAFE_CONFIG


def test_sixteen_bit_operands_of_a_hopper_gpu_go_through_boxes_chosen_by_the_rows_of_an_expert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moefuzz.kernels.triton_interpreter.in_force", lambda: False)
    monkeypatch.setattr("moefuzz.kernels.grouped_gemm_details.tma_boxes.are_there", lambda _: True)
    x, w = torch.zeros(64, 64, dtype=torch.bfloat16), torch.zeros(2, 64, 64, dtype=torch.bfloat16)
    few, many = (Choice("forward", x, w, rows, 2, ()).config(None, None) for rows in (20, 2000))
    assert (few.tma, few.block_m, many.tma, many.block_m) == (True, 16, True, 128)
    assert not Choice("forward", x.float(), w.float(), 20, 2, ()).config(None, None).tma
    assert not Choice("forward", x.mT, w, 20, 2, ()).config(None, None).tma


def test_specialised_warps_are_chosen_where_no_row_is_gathered_scattered_or_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moefuzz.kernels.triton_interpreter.in_force", lambda: False)
    monkeypatch.setattr("moefuzz.kernels.grouped_gemm_details.tma_boxes.are_there", lambda _: True)
    x, w = torch.zeros(64, 64, dtype=torch.bfloat16), torch.zeros(2, 64, 64, dtype=torch.bfloat16)
    for kind in ("forward", "dX", "dW"):
        plain, gathered = (Choice(kind, x, w, 2000, 2, (), plain=plain).config(None, None) for plain in (True, False))
        assert (plain.specialized, gathered.specialized) == (True, False)
    with pytest.raises(ValueError, match="specialized needs tma"):
        KernelConfig(specialized=True)


def test_a_config_follows_the_rows_of_an_expert_and_the_depth_of_the_contraction() -> None:
    for kind in ("forward", "dX"):
        sizes = [(384, 2048), (385, 2048), (384, 2049), (385, 2049)]
        assert [hopper_configs(kind, *size, plain=True)[0].num_stages for size in sizes] == [4, 4, 4, 3]
    assert [hopper_configs("dX", rows, 1536, plain=True)[0].specialized for rows in (192, 193)] == [False, True]
    assert not any(config.specialized for config in hopper_configs("dX", 256, 768, plain=False))


def test_a_ring_has_two_stages_or_there_are_no_specialised_warps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hopper_pipeline, "is_there", lambda _: True)
    result, wish = torch.zeros(1, dtype=torch.bfloat16), KernelConfig(num_stages=4, tma=True, specialized=True)
    assert [hopper_pipeline.stages_of(wish, result, 128, *tile) for tile in ((256, 64), (128, 64), (256, 256), (32, 64))] == [4, 4, 0, 0]
    assert [hopper_pipeline.stages_of(wish, result, rows, 128, 64) for rows in (64, 256)] == [0, 0]
    assert hopper_pipeline.stages_of(dataclasses.replace(wish, num_stages=1), result, 128, 128, 64) == 0
    assert (
        hopper_pipeline.stages_of(wish, result.float(), 128, 128, 64)
        == hopper_pipeline.stages_of(KernelConfig(), result, 128, 128, 64)
        == 0
    )
    assert hopper_pipeline.stages_of(dataclasses.replace(wish, num_stages=9), result, 128, 256, 32) == 8
    with pytest.raises(ValueError, match="specialized must be True or False, got 'no'"):
        KernelConfig(tma=True, specialized="no")  # type: ignore[arg-type]


def test_a_config_of_boxes_is_refused_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moefuzz.kernels.grouped_gemm_details.tma_boxes.are_there", lambda _: False)
    with pytest.raises(ValueError, match="needs the tensor memory accelerator, which cpu does not have"):
        Choice("forward", X.cpu(), W.cpu()[:, :1].expand(2, 8, 8).contiguous(), 4, 2, ()).config(KernelConfig(tma=True), None)


def test_all_default_configs_promise_alignment() -> None:
    assert all(config.aligned for config in (*FORWARD_CONFIGS, *DX_CONFIGS, *DW_CONFIGS)) and not SAFE_CONFIG.aligned
