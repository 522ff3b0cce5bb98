"""Read the shape of an MoE block from a config.json, whose keys differ between model families."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .presets import MoeShape

# The keys are those of the configuration classes of transformers 5.17. An earlier name has priority: if there is moe_intermediate_size,
# intermediate_size is the size of a dense layer.
_NAMES = {
    "num_experts": ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
    "num_experts_per_tok": ("num_experts_per_tok", "moe_topk", "moe_k", "moe_top_k"),
    "hidden_size": ("hidden_size",),
    "moe_intermediate_size": ("moe_intermediate_size", "expert_ffn_hidden_size", "intermediate_size", "ffn_hidden_size"),
}
_SHARED = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "shared_expert_intermediate_size")
_INSIDE = ("text_config", "thinker_config", "ffn_config")
_QWEN3_BLOCKS = {"qwen3_moe", "qwen3_vl_moe_text", "mixtral", "olmoe"}
"""Model types whose block computes what a Qwen3 block does."""
_ALWAYS_NORMALISED = {
    "mixtral", "minimax", "minimax_m2", "granitemoe", "gpt_oss", "qwen3_vl_moe_text", "qwen3_5_moe_text", "qwen3_omni_moe_text",
}  # fmt: skip
"""Model types without a key norm_topk_prob, whose routers always divide by the sum."""


def shape_in(config: Any, model_id: str, source: str) -> MoeShape:
    """Return the shape that a parsed config.json describes. Raises ValueError with a text of one line if it describes none."""
    if not isinstance(config, dict):
        raise ValueError(f"its config.json holds no object but {type(config).__name__}; tell its author, or try another revision")
    for part in _parts(config):
        if (_number(part, _NAMES["num_experts"]) or 0) > 1:
            break
    else:
        raise ValueError("no Mixture-of-Experts model; its config.json names no number of experts")
    numbers = {name: _number({**config, **part}, names) for name, names in _NAMES.items()}
    if missing := [name for name, number in numbers.items() if number is None]:
        raise ValueError(f"its config.json names experts but no {', '.join(missing)}; tell its author, or try another revision")
    kind = str(part.get("model_type", config.get("model_type")))
    norm = part.get("norm_topk_prob")
    try:
        return MoeShape(
            model_id,
            **{name: number for name, number in numbers.items() if number is not None},
            norm_topk_prob=kind in _ALWAYS_NORMALISED if norm is None else norm,
            source=source,
            note="; ".join(_departures({**config, **part}, kind)),
        )
    except ValueError as error:
        raise ValueError(f"its config.json is malformed: {error}") from None


def _parts(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the config and those nested in it, of the text model or of its feed-forward part."""
    yield config
    for name in _INSIDE:
        if isinstance(config.get(name), dict):
            yield from _parts(config[name])


def _number(config: dict[str, Any], names: tuple[str, ...]) -> int | None:
    """Return the integer under the first of the names that has one, or None; a list with the same number for all layers counts as it."""
    for name in names:
        value = config.get(name)
        if isinstance(value, list) and value and all(number == value[0] for number in value):
            value = value[0]
        if type(value) is int:
            return value
    return None


def _departures(config: dict[str, Any], kind: str) -> Iterator[str]:
    """Yield a text for each feature of the config that a Qwen3 block does not compute."""
    if kind not in _QWEN3_BLOCKS:
        yield f"a block of model type {kind}, which may compute something else"
    if any(config.get(name) for name in _SHARED):
        yield "shared experts are added"
    if config.get("scoring_func", "softmax") != "softmax":
        yield f"a {config['scoring_func']} router"
    if config.get("routed_scaling_factor", 1) not in (None, 1):
        yield f"weights are scaled by {config['routed_scaling_factor']}"
    if config.get("hidden_act", "silu") != "silu":
        yield f"the activation is {config['hidden_act']}"
    if config.get("quantization_config"):
        yield "the weights are quantised"
