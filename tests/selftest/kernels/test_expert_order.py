"""dW's order of experts: each once, those with many rows first, others as they were."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moefuzz.kernels.grouped_gemm_details.expert_order import heavy_first


@given(st.lists(st.sampled_from([-3, 0, 1, 2, 5, 40, 300]), min_size=1, max_size=70))
def test_experts_of_more_than_twice_the_mean_rows_come_first(sizes: list[int]) -> None:
    order, counter = heavy_first(torch.tensor(sizes, dtype=torch.int32))
    most = 2 * int(sum(sizes) / len(sizes))
    assert order.tolist() == sorted(range(len(sizes)), key=lambda e: sizes[e] <= most)
    assert counter.tolist() == [0]


@pytest.mark.parametrize(("sizes", "order"), [([4] * 40, [*range(40)]), ([1, 5, 1, 1, 6, 1], [1, 4, 0, 2, 3, 5]), ([0, 0], [0, 1])])
def test_the_order_of_others_stays(sizes: list[int], order: list[int]) -> None:
    assert heavy_first(torch.tensor(sizes, dtype=torch.int32))[0].tolist() == order
