"""Cases are plain data, and building one gives the same bits everywhere."""

from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given

from moefuzz.harness.levels.cases import RECIPES, GroupedGemmCase, MoeBlockCase, case_from_json, case_from_repr
from moefuzz.harness.levels.grouped_gemm.problem import build_grouped_gemm
from moefuzz.harness.numerics.recipes import values
from moefuzz.harness.reduction.minimise import minimise, simpler_cases
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.check import failure_of
from moefuzz.kernels.kernel_config import KernelConfig
from moefuzz.kernels.reference import grouped_gemm_reference
from moefuzz.strategies import grouped_gemm_cases

GOLDEN = {
    "integers": "1a7708bfb8921e0c",
    "signs": "4beb5ce156e3d892",
    "normal": "b4fae400323727ae",
    "wide": "935352e9cd959e27",
    "cancelling": "96769e3d19a3cae5",
    "zeros": "213e3a2ae54f25b0",
    "positive": "63c003041487d909",
}


@given(grouped_gemm_cases())
def test_a_case_survives_repr_and_json(case: GroupedGemmCase) -> None:
    assert case_from_repr(repr(case)) == case == case_from_json(case.to_json())


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_gives_the_same_bits_on_every_machine(recipe: str) -> None:
    assert hashlib.sha256(values(recipe, 7, 1, (33, 5)).tobytes()).hexdigest()[:16] == GOLDEN[recipe]


@given(grouped_gemm_cases())
def test_gather_indices_give_each_row_a_slot_of_its_own(case: GroupedGemmCase) -> None:
    slots = build_grouped_gemm(case).gather_indices
    owned = [] if slots is None else slots[: sum(case.m_sizes)].tolist()
    assert len(set(owned)) == len(owned) and all(0 <= slot < case.M for slot in owned)
    assert slots is None or (slots[sum(case.m_sizes) :] == -1).all()


@pytest.mark.parametrize("sizes", [(0,), (0, 0), (2, 0)])
def test_inputs_have_the_strides_of_torch_even_without_rows(sizes: tuple[int, ...]) -> None:
    problem = build_grouped_gemm(GroupedGemmCase(sizes, N=3, K=5))
    assert problem.X.stride() == (5, 1) and problem.dY.stride() == (3, 1) and problem.W.stride() == (15, 5, 1)


@given(grouped_gemm_cases())
def test_a_simpler_case_is_valid_and_another(case: GroupedGemmCase) -> None:
    assert all(simpler != case for simpler in simpler_cases(case))


BAD = {
    "GroupedGemmCase(())": "m_sizes must name at least one expert and no negative size, got ()",
    "GroupedGemmCase((1, -1))": "got (1, -1)",
    "GroupedGemmCase((1,), N=0)": "N must be at least 1, got 0",
    "GroupedGemmCase((1,), dtype='float8')": "dtype must be one of",
    "GroupedGemmCase((3,), topk=2)": "topk must divide the number of rows 3, got 2",
    "GroupedGemmCase((1,), fuse_mul_post=True)": "fuse_mul_post has no backward pass",
    "GroupedGemmCase((1,), config=KernelConfig(block_m=17))": "block_m must be a power of two and at least 16, got 17",
    "MoeBlockCase((1, 3), topk=2)": "loads must sum to T * topk with at most T each",
    "MoeBlockCase((1,), topk=2)": "topk must be at most the number of experts 1, got 2",
    "KernelConfig()": "not a case",
    "__import__('os')": "not a case",
}


@pytest.mark.parametrize("call", BAD)
def test_an_impossible_case_is_refused_with_its_values(call: str) -> None:
    with pytest.raises(ValueError, match=BAD[call].replace("(", r"\(").replace(")", r"\)").replace("*", r"\*")):
        case_from_repr(call)


def test_json_of_another_format_is_refused() -> None:
    text = MoeBlockCase((1,)).to_json()
    for old, new, message in (('"format": 1', '"format": 0', "format 0"), ("loads", "lords", "lords"), ("MoeBlockCase", "Moo", "'Moo'")):
        with pytest.raises(ValueError, match=message):
            case_from_json(text.replace(old, new))


def test_a_repr_leaves_out_what_is_at_its_default() -> None:
    assert repr(GroupedGemmCase((1,), config=KernelConfig(block_k=32))) == (
        "GroupedGemmCase(m_sizes=(1,), "
        "config=KernelConfig(block_m=16, block_n=16, block_k=32, num_warps=4, num_stages=2, aligned=False, tma=False, specialized=False))"
    )


def test_experts_are_merged_where_their_rows_matter_together() -> None:
    def wrong_from_65_rows(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
        return grouped_gemm_reference(X, W, m_sizes, 1) + (len(X) > 64)

    target = Target("many", wrong_from_65_rows)
    found = failure_of(GroupedGemmCase(m_sizes=(13, 11, 20, 21, 15)), target)
    assert found is not None
    assert minimise(found, lambda case: failure_of(case, target)).case == GroupedGemmCase(m_sizes=(65,))
