"""Released models: the shapes that are shipped, those that are read from a config, and the small blocks that are drawn like them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from fractions import Fraction

import pytest
import transformers
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument

from moefuzz.harness.levels.cases import MoeBlockCase
from moefuzz.harness.models.hub_config import shape_in
from moefuzz.harness.models.presets import MoeShape, preset, presets, qwen3_blocks
from moefuzz.harness.targets import Target
from moefuzz.kernels.kernel_config import KernelConfig
from moefuzz.strategies import blocks_like, configs_like
from moefuzz.strategies.regimes import released_blocks
from moefuzz.strategies.released_models import LARGEST, MOST_EXPERTS
from moefuzz.tests.selftest.support.strategy_checks import assert_all_examples, find_any, minimal

QWEN3, MIXTRAL, OLMOE = "Qwen/Qwen3-30B-A3B", "mistralai/Mixtral-8x7B-v0.1", "allenai/OLMoE-1B-7B-0924"
ANY = Target("any block", lambda block: block, level="moe_block")
DEFAULTS = {
    model_id: match[1] for model_id, shape in presets().items() if (match := re.fullmatch(r"transformers\.(\w+)\(\)", shape.source))
}


@pytest.mark.parametrize("model_id", DEFAULTS)
def test_a_preset_agrees_with_the_default_of_transformers_that_is_its_source(model_id: str) -> None:
    kind = getattr(transformers, DEFAULTS[model_id], None)
    if kind is None:
        pytest.skip(f"transformers {transformers.__version__} has no {DEFAULTS[model_id]}")
    config, shape = kind(), preset(model_id)
    read = shape_in(config.to_dict(), model_id, shape.source)
    assert [getattr(read, name) for name in NUMBERS] == [getattr(shape, name) for name in NUMBERS]


NUMBERS = ("num_experts", "num_experts_per_tok", "hidden_size", "moe_intermediate_size", "norm_topk_prob")


def test_every_preset_names_where_it_was_read() -> None:
    sources = {shape.source for shape in presets().values() if shape.model_id not in DEFAULTS}
    assert all(re.fullmatch(r"https://\S+\.(json|yaml|py)", source) for source in sources)
    assert len(presets()) > 20 and len(DEFAULTS) > 5


def test_the_presets_of_qwen3_moe_are_qwen3_blocks() -> None:
    known = {shape.model_id for shape in qwen3_blocks()}
    assert {model_id for model_id in presets() if re.match(r"Qwen/Qwen3-(30|235|Coder)", model_id)} <= known
    assert {MIXTRAL, OLMOE} <= known and "openai/gpt-oss-20b" not in known


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=f"no preset 'qwen', known are {QWEN3}"):
        preset("qwen")
    with pytest.raises(InvalidArgument, match=r"no preset 'qwen'.*shape_of finds"):
        configs_like("qwen")


# Names as the configuration classes of transformers 5.17 have them.
CONFIGS: dict[str, tuple[dict[str, object], tuple[object, ...], str]] = {
    "qwen3_moe": ({"num_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": True, "moe_intermediate_size": 6}, (8, 2, 4, 6, True), ""),
    "mixtral": ({"num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 7}, (8, 2, 4, 7, True), ""),
    "olmoe": ({"num_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 7, "norm_topk_prob": False}, (8, 2, 4, 7, False), ""),
    "deepseek_v3": (
        {"n_routed_experts": 8, "num_experts_per_tok": 3, "intermediate_size": 99, "moe_intermediate_size": 6, "norm_topk_prob": True,
         "n_shared_experts": 1, "scoring_func": "sigmoid", "routed_scaling_factor": 2.5, "quantization_config": {"bits": 8}},
        (8, 3, 4, 6, True),
        "shared experts are added; a sigmoid router; weights are scaled by 2.5; the weights are quantised",
    ),
    "ernie4_5_moe": ({"moe_num_experts": 8, "moe_k": 6, "intermediate_size": 99, "moe_intermediate_size": 6}, (8, 6, 4, 6, False), ""),
    "hunyuan_v1_moe": ({"num_experts": 8, "moe_topk": [3, 3], "moe_intermediate_size": [6, 6]}, (8, 3, 4, 6, False), ""),
    "llama4": ({"text_config": {"num_local_experts": 8, "num_experts_per_tok": 1, "intermediate_size": 7}}, (8, 1, 4, 7, False), ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_config_is_read_whatever_its_family_calls_the_numbers(kind: str) -> None:
    config, numbers, note = CONFIGS[kind]
    shape = shape_in({"model_type": kind, "hidden_size": 4, **config}, "a/b", "")
    assert tuple(getattr(shape, name) for name in NUMBERS) == numbers
    assert shape.note.endswith(note) and (kind in {"qwen3_moe", "mixtral", "olmoe"}) == (not shape.note)


NAMES = ["num_experts", "num_experts_per_tok", "hidden_size", "moe_intermediate_size", "norm_topk_prob", "model_type", "text_config"]
NAMES += ["n_shared_experts", "scoring_func", "routed_scaling_factor", "hidden_act", "quantization_config"]
VALUES = st.one_of(st.integers(-2, 9), st.none(), st.booleans(), st.floats(), st.text(max_size=3), st.lists(st.integers(0, 2), max_size=3))
INSIDE = st.dictionaries(st.sampled_from(NAMES), VALUES)
CONFIG = st.fixed_dictionaries(dict.fromkeys(NAMES[:4], st.integers(1, 9)), optional=dict.fromkeys(NAMES[4:], VALUES | INSIDE))


@example(config=dict.fromkeys(NAMES[:4], 2) | {"model_type": []})
@given(config=CONFIG | INSIDE | VALUES)
def test_any_json_is_a_shape_or_refused_in_one_line(config: object) -> None:
    try:
        said = repr(shape_in(config, "a/b", "there"))
    except ValueError as error:
        said = str(error)
    assert "\n" not in said


SIMPLEST = {
    QWEN3: (16, 2, 48, 16, True),
    MIXTRAL: (8, 2, 16, 48, True),
    OLMOE: (16, 2, 32, 16, False),
    "openai/gpt-oss-20b": (16, 2, 16, 16, True),
    "meta-llama/Llama-4-Scout-17B-16E": (16, 1, 16, 32, False),
    "ibm-granite/granite-3.0-3b-a800m-base": (10, 2, 48, 16, True),
}


@pytest.mark.parametrize("model_id", SIMPLEST)
def test_the_simplest_configuration(model_id: str) -> None:
    simplest = minimal(configs_like(model_id))
    assert tuple(getattr(simplest, name) for name in NUMBERS) == SIMPLEST[model_id]


def test_the_simplest_block_is_one_of_no_tokens_like_the_first_qwen3() -> None:
    tiles = KernelConfig(block_m=64, block_n=64, block_k=64)
    simplest = MoeBlockCase(loads=(0,) * 16, topk=2, hidden_size=48, moe_intermediate_size=16, config=tiles)
    assert simplest == minimal(blocks_like(QWEN3))
    assert dataclasses.replace(simplest, config=KernelConfig()) == minimal(released_blocks(ANY))  # which takes no config


@pytest.mark.parametrize("model_id", presets())
def test_what_matters_of_a_model_is_kept(model_id: str) -> None:
    assert_all_examples(configs_like(model_id), lambda small: keeps(small, preset(model_id)))


def shapes() -> st.SearchStrategy[MoeShape]:
    """Shapes that nobody released, whose sizes are or are not whole tiles."""
    sizes = st.integers(1, 8192) | st.integers(1, 512).map(lambda tiles: 16 * tiles) | st.integers(1, 128).map(lambda tiles: 64 * tiles)
    choices = st.tuples(st.integers(1, 12), st.integers(0, 300))
    return st.builds(
        lambda topk_and_rest, **sizes: MoeShape("a/b", sum(topk_and_rest), topk_and_rest[0], **sizes, norm_topk_prob=True, source=""),
        choices,
        hidden_size=sizes,
        moe_intermediate_size=sizes,
    )


@given(data=st.data(), shape=shapes())
def test_what_matters_of_any_shape_is_kept(data: st.DataObject, shape: MoeShape) -> None:
    assert keeps(data.draw(configs_like(shape)), shape, most_off=float("inf"))


def keeps(small: MoeShape, of: MoeShape, most_off: float = 1.25) -> bool:
    """Whether a configuration has the limits, choices, tiles and relations that configs_like promises."""
    E, topk, H, size = small.num_experts, small.num_experts_per_tok, small.hidden_size, small.moe_intermediate_size
    whole = of.num_experts * min(of.num_experts_per_tok, 2) // of.num_experts_per_tok <= MOST_EXPERTS
    ratios = (Fraction(2 * size, H), Fraction(2 * of.moe_intermediate_size, of.hidden_size))
    return (
        small.norm_topk_prob == of.norm_topk_prob
        and topk <= E <= min(MOST_EXPERTS, H)
        and max(H, size) <= LARGEST
        and (topk > 1) == (of.num_experts_per_tok > 1)
        and (of.num_experts * topk // of.num_experts_per_tok if whole else MOST_EXPERTS) == E
        and all((a % 16 == 0, a % 4 == 0) == (b % 64 == 0, b % 16 == 0) for a, b in ((H, of.hidden_size), (size, of.moe_intermediate_size)))
        and [ratio < 1 for ratio in ratios] in ([True] * 2, [False] * 2)
        and [ratio == 1 for ratio in ratios] in ([True] * 2, [False] * 2)
        and max(ratios) / min(ratios) <= most_off
    )


CORNERS: dict[str, tuple[str, Callable[[MoeBlockCase], bool]]] = {
    "eight choices of sixteen": (QWEN3, lambda case: case.topk == 8 and case.E == 16 and case.T > 1),
    "two choices of sixteen": (QWEN3, lambda case: case.topk == 2 and case.T > 1),
    "most experts starve": (QWEN3, lambda case: sum(map(bool, case.loads)) in {2, 3}),
    "every expert is busy": (QWEN3, lambda case: all(case.loads)),
    "the first expert starves": (QWEN3, lambda case: not case.loads[0] and case.loads[-1] > 0),
    "the last expert starves": (MIXTRAL, lambda case: not case.loads[-1] and case.loads[0] > 0),
    "2I far above H": (MIXTRAL, lambda case: case.moe_intermediate_size == 64 and case.hidden_size == 16),
    "2I at H": (OLMOE, lambda case: 2 * case.moe_intermediate_size == case.hidden_size == 64),
    "bfloat16, permuted": (MIXTRAL, lambda case: case.dtype == "bfloat16" and case.permute_x and case.permute_y),
}


@pytest.mark.parametrize("corner", CORNERS)
def test_corners_of_blocks_are_reached(corner: str) -> None:
    model_id, reached = CORNERS[corner]
    find_any(blocks_like(model_id), reached)


def test_all_qwen3_blocks_are_released() -> None:
    last = minimal(blocks_like(qwen3_blocks()[-1]))
    assert (last.hidden_size, last.moe_intermediate_size, last.norm_topk_prob) == (32, 16, False)
    find_any(released_blocks(ANY), lambda case: (case.hidden_size, case.moe_intermediate_size) == (32, 16))


def test_a_target_rounds_sizes_up_to_its_multiples() -> None:
    target = Target("rows of 64 elements", lambda block: block, level="moe_block", k_multiple=64)
    simplest = minimal(blocks_like(QWEN3, target))
    assert (simplest.hidden_size, simplest.moe_intermediate_size) == (64, 64)
