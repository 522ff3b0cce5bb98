"""What is read from the Hub, held against a server on loopback that answers as the Hub does, and what is said where it does not."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
from huggingface_hub import constants
from safetensors import safe_open
from typer.testing import CliRunner

from moefuzz.harness.cli.commands import app
from moefuzz.harness.models.expert_tensors import ExpertTensors, group
from moefuzz.harness.models.hub import HubError, get_expert_metadata, shape_from_hub, shape_of
from moefuzz.harness.models.presets import preset
from moefuzz.tests.selftest.support.hub_server import COMMIT, HubServer, Repo, as_json, plain, safetensors

QWEN3 = "Qwen/Qwen3-30B-A3B"
CONFIG = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "hidden_act": "silu",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "model_type": "qwen3_moe",
    "moe_intermediate_size": 768,
    "norm_topk_prob": True,
    "num_experts": 128,
    "num_experts_per_tok": 8,
}  # as Qwen/Qwen3-30B-A3B has it, so far as it concerns an MoE block


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A Hub without models that this process takes for the real one, with an empty cache, and nobody logged in."""
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 5)
        yield server


def expert_files(layers: int, experts: int) -> dict[str, tuple[str, list[int]]]:
    """The tensors of a Qwen3 checkpoint with these numbers: experts one by one, a router, attention."""
    tensors: dict[str, tuple[str, list[int]]] = {"model.embed_tokens.weight": ("BF16", [151936, 2048])}
    for layer, expert in itertools.product(range(layers), range(experts)):
        path = f"model.layers.{layer}.mlp.experts.{expert}"
        tensors |= {f"{path}.gate_proj.weight": ("BF16", [768, 2048]), f"{path}.up_proj.weight": ("BF16", [768, 2048])}
        tensors |= {f"{path}.down_proj.weight": ("BF16", [2048, 768]), f"model.layers.{layer}.mlp.gate.weight": ("BF16", [experts, 2048])}
    return tensors


def test_a_shape_is_read_from_the_hub_with_its_commit(hub: HubServer) -> None:
    hub.repos["someone/qwen"] = Repo({"config.json": as_json(CONFIG)})
    shape = dataclasses.replace(preset(QWEN3), model_id="someone/qwen", source=f"{hub.url}/someone/qwen/blob/{COMMIT}/config.json")
    assert shape_from_hub("someone/qwen") == shape == shape_of("someone/qwen")


def test_experts_are_listed_from_the_header_alone(hub: HubServer) -> None:
    weights = safetensors(expert_files(layers=3, experts=128))
    hub.repos[QWEN3] = Repo({"model.safetensors": weights})
    metadata = get_expert_metadata(QWEN3)
    assert metadata.revision == COMMIT
    assert str(metadata).splitlines() == [
        "model.layers.*.mlp.experts.*.down_proj.weight  [2048, 768]  BF16  3 x 128",
        "model.layers.*.mlp.experts.*.gate_proj.weight  [768, 2048]  BF16  3 x 128",
        "model.layers.*.mlp.experts.*.up_proj.weight  [768, 2048]  BF16  3 x 128",
    ]
    read = [sent for _, path, sent in hub.asked if path.startswith("/cdn/")]
    assert {path.split("/")[4] for _, path, _ in hub.asked if "/resolve/" in path} == {COMMIT}  # no file of another commit
    assert len(weights.head) > 100_001 and read == [100_001, len(weights.head) - 8]  # the second range, since the first was too short


def test_experts_in_several_files_are_counted_together(hub: HubServer) -> None:
    tensors = expert_files(layers=2, experts=4)
    names = {name: f"model-0000{1 + ('layers.1.' in name)}-of-00002.safetensors" for name in tensors}
    files = {file: safetensors({name: tensors[name] for name in tensors if names[name] == file}) for file in set(names.values())}
    hub.repos[QWEN3] = Repo({**files, "model.safetensors.index.json": as_json({"metadata": {}, "weight_map": names})})
    assert [(row.count, row.numbers) for row in get_expert_metadata(QWEN3).tensors] == [(8, (2, 4))] * 3


def test_a_file_of_the_server_is_one_that_safetensors_reads(tmp_path: Path) -> None:
    file = safetensors({"a": ("BF16", [2, 3]), "b": ("F32", [1])})
    (tmp_path / "a.safetensors").write_bytes(file.part(0, file.size))
    with safe_open(tmp_path / "a.safetensors", "pt") as opened:
        assert {name: opened.get_slice(name).get_shape() for name in opened.keys()} == {"a": [2, 3], "b": [1]}  # noqa: SIM118


LAYOUTS = {
    "Mixtral's": "model.layers.0.block_sparse_moe.experts.5.w1.weight",
    "of one tensor for all": "model.layers.3.mlp.experts.gate_up_proj",
    "of a part of a larger model": "model.language_model.layers.0.mlp.experts.down_proj",
    "gpt-oss's blocks of four bits": "model.layers.0.mlp.experts.gate_up_proj_blocks",
    "Granite's": "model.layers.0.block_sparse_moe.input_linear.weight",
    "with scales": "model.layers.3.mlp.experts.7.up_proj.weight_scale_inv",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_expert_is_known_by_its_name(layout: str) -> None:
    [row] = group({LAYOUTS[layout]: ([32, 4, 8], "BF16")})
    assert (row.shape, row.count) == ((32, 4, 8), 1)


def test_routers_and_shared_experts_are_no_experts() -> None:
    others = ["mlp.gate.weight", "mlp.shared_experts.up_proj.weight", "mlp.shared_expert.up_proj.weight", "mlp.shared_expert_gate.weight"]
    assert group({f"model.layers.0.{name}": ([4, 4], "BF16") for name in [*others, "block_sparse_moe.router.layer.weight"]}) == ()


def test_a_missing_or_odd_expert_is_seen() -> None:
    names = [f"layers.{layer}.experts.{expert}.w1.weight" for layer in range(2) for expert in range(2)]
    assert str(group({name: ([4, 4], "BF16") for name in names[1:]})[0]).endswith("BF16  3")
    odd = {name: ([4, 4 + name.startswith("layers.1.experts.1")], "BF16") for name in names}
    assert [row.count for row in group(odd)] == [3, 1]
    assert group({"experts.w": ([4], "U8")}) == (ExpertTensors("experts.w", (4,), "U8", 1, ()),)


def config_of(value: object) -> Repo:
    return Repo({"config.json": as_json(value)})


def weights_of(head: bytes) -> Repo:
    return Repo({"model.safetensors": plain(head)})


MISSING = "not at {url}, or private; check the name, or run `hf auth login` or set HF_TOKEN"
GATED = "gated; ask for access at {url}/a/b, then run `hf auth login` or set HF_TOKEN"

NO_SHAPE: dict[str, tuple[Repo | None, str]] = {
    "missing": (None, MISSING),
    "gated": (Repo({}, gated=True), GATED),
    "forbidden": (Repo({}, status=HTTPStatus.FORBIDDEN), "{url} refuses access (403); run `hf auth login` or set HF_TOKEN"),
    "a forbidden file": (Repo({}, file_status=HTTPStatus.FORBIDDEN), "{url} refuses access (403); run `hf auth login` or set HF_TOKEN"),
    "broken Hub": (Repo({}, status=HTTPStatus.INTERNAL_SERVER_ERROR), "{url} answered 500; try again later"),
    "too many requests": (Repo({}, status=HTTPStatus.TOO_MANY_REQUESTS), "{url} answered 429; try again later"),
    "no Hub": (Repo({}, status=HTTPStatus.NOT_FOUND), "{url} answered 404; check HF_ENDPOINT"),
    "no config": (Repo({}), "has no config.json; it is not a model that transformers loads"),
    "half a config": (Repo({"config.json": plain(b'{"hidden')}), "{url} answered with malformed JSON (Unterminated string"),
    "no text": (Repo({"config.json": plain(b"\xff\xfe\xfa")}), "{url} answered something that cannot be read (UnicodeDecodeError"),
    "a list": (config_of([1]), "its config.json holds no object but list"),
    "dense": (config_of({"hidden_size": 8}), "no Mixture-of-Experts model; its config.json names no number of experts"),
    "nothing but experts": (config_of({"num_experts": 8}), "names experts but no num_experts_per_tok, hidden_size, moe_intermediate_size"),
    "too many chosen": (config_of({**CONFIG, "num_experts": 4}), "its config.json is malformed: num_experts_per_tok must be at most"),
    "no answer of the Hub": (Repo({}, info=b"<html>"), "{url} answered with malformed JSON"),
    "another answer": (Repo({}, info=b'["a"]'), "{url} answered something that cannot be read"),
}
HEADER = "the header of a safetensors file is malformed; tell its author"
NO_TENSORS: dict[str, tuple[Repo | None, str]] = {
    "missing": (None, MISSING),
    "gated": (Repo({"model.safetensors": plain(b"")}, gated=True), GATED),
    "no safetensors": (config_of(CONFIG), "has no model.safetensors and no index of several; its tensors cannot be listed"),
    "half a header": (weights_of((10**6).to_bytes(8, "little") + b'{"a"'), HEADER),
    "a header beyond all bounds": (weights_of(b"\xff" * 64), HEADER),
    "an odd header": (weights_of((8).to_bytes(8, "little") + b'{"a":{}}'), HEADER),
    "no experts": (weights_of(safetensors({"a": ("BF16", [1])}).head), "none of its 1 tensors belongs to an expert"),
    "a file too few": (
        Repo({"model.safetensors.index.json": as_json({"weight_map": {"a": "1.safetensors"}})}),
        "has no 1.safetensors; it is",
    ),
    "half an index": (Repo({"model.safetensors.index.json": plain(b"{")}), "{url} answered with malformed JSON"),
}


def refused(hub: HubServer, ask: Callable[[str], object], repo: Repo | None) -> str:
    """In which words it is refused to ask for a model that the Hub has like this."""
    hub.repos |= {} if repo is None else {"a/b": repo}
    with pytest.raises(HubError) as refusal:
        ask("a/b")
    text = str(refusal.value)
    assert text.startswith("a/b: ") and "\n" not in text
    return text


@pytest.mark.parametrize("case", NO_SHAPE)
def test_why_there_is_no_shape_is_one_line_that_says_what_to_do(hub: HubServer, case: str) -> None:
    repo, words = NO_SHAPE[case]
    assert words.format(url=hub.url) in refused(hub, shape_from_hub, repo)


@pytest.mark.parametrize("case", NO_TENSORS)
def test_why_there_are_no_tensors_is_one_line_that_says_what_to_do(hub: HubServer, case: str) -> None:
    repo, words = NO_TENSORS[case]
    assert words.format(url=hub.url) in refused(hub, get_expert_metadata, repo)


@pytest.mark.parametrize("ask", [shape_from_hub, get_expert_metadata])
def test_a_revision_is_asked_for_and_missed(hub: HubServer, ask: Callable[[str, str], object]) -> None:
    words = refused(hub, lambda model: ask(model, "v9"), config_of(CONFIG))
    assert f"has no such revision at {hub.url}; check the branch, tag or commit" in words


def test_a_name_that_no_model_can_have_is_refused(hub: HubServer) -> None:
    with pytest.raises(HubError, match="not a model id; it must have the form owner/name"):
        shape_from_hub("a/b/c")
    assert hub.asked == []


@pytest.mark.parametrize("ask", [shape_from_hub, get_expert_metadata])
def test_a_hub_that_does_not_answer_in_time_is_given_up(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, ask: Callable[[str], object]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    words = refused(hub, ask, Repo({}, stalled=True))
    assert f"{hub.url} did not answer in time; try again, or raise HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT" in words


def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port on which nobody listens."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


def test_without_a_hub_a_preset_stands_in_and_says_why(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    no_hub(monkeypatch)
    shape = shape_of("Qwen/Qwen3-Next-80B-A3B-Instruct")
    assert shape.num_experts == 512
    assert shape.note.startswith("a gated shared expert is added; preset, since http://127.0.0.1:9 cannot be reached (Connect")
    with pytest.raises(HubError, match=r"a/b: http://127.0.0.1:9 cannot be reached .*there is no preset either") as refusal:
        shape_of("a/b")
    assert "\n" not in str(refusal.value) and hub.asked == []


def test_offline_is_said_as_such(hub: HubServer, tmp_path: Path) -> None:
    code = f"from moefuzz.harness.models.hub import shape_of; print(shape_of({QWEN3!r}).note)"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout == "preset, since huggingface_hub is offline and its cache has no answer; unset HF_HUB_OFFLINE\n"
    assert hub.asked == []


def test_a_config_in_the_cache_answers_for_a_hub_that_does_not(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos["a/b"] = Repo({"config.json": as_json(CONFIG)})
    first = shape_from_hub("a/b")
    no_hub(monkeypatch)
    assert shape_from_hub("a/b") == dataclasses.replace(first, source=f"http://127.0.0.1:9/a/b/blob/{COMMIT}/config.json")


def test_the_command_prints_shape_and_experts(hub: HubServer) -> None:
    hub.repos["a/b"] = Repo({"config.json": as_json(CONFIG), "model.safetensors": safetensors(expert_files(layers=1, experts=2))})
    printed = CliRunner().invoke(app, ["models", "a/b"])
    assert printed.exit_code == 0
    assert "hidden_size            2048\n" in printed.output
    assert "experts.*.up_proj.weight  [768, 2048]  BF16  1 x 2\n" in printed.output


def test_the_command_refuses_in_one_line(hub: HubServer) -> None:
    printed = CliRunner().invoke(app, ["models", "a/b"])
    assert printed.exit_code == 2 and printed.output.startswith(f"moefuzz: a/b: not at {hub.url}") and printed.output.count("\n") == 1


def test_the_command_falls_back_on_a_preset(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    no_hub(monkeypatch)
    printed = CliRunner().invoke(app, ["models", QWEN3])
    assert printed.exit_code == 0 and "note                   preset, since http://127.0.0.1:9" in printed.output
    assert hub.asked == []


def test_the_command_lists_the_presets() -> None:
    printed = CliRunner().invoke(app, ["models"])
    assert printed.exit_code == 0
    assert re.search(r"^mistralai/Mixtral-8x22B-Instruct-v0.1 +8 +2 +6144 +16384 +yes +yes", printed.output, re.MULTILINE)
