"""Adapters: each is installed under its name, declares what is so, and is right on what it declares."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from moefuzz.harness.cli import commands
from moefuzz.harness.levels.cases import GroupedGemmCase, MoeBlockCase
from moefuzz.harness.targets import BadTarget, Target
from moefuzz.harness.targets.adapters import unsloth
from moefuzz.harness.targets.registry import declared_target, load_target, named_targets
from moefuzz.harness.verdict.check import check, failure_of
from moefuzz.kernels import experts
from moefuzz.kernels.kernel_config import KernelConfig
from moefuzz.kernels.sorted_rows import SortedRows
from moefuzz.strategies.regimes import any_blocks, any_cases, outside_blocks, outside_cases, related_cases
from moefuzz.tests.selftest.support.strategy_checks import assert_all_examples

Regimes = dict[str, Callable[[Target], st.SearchStrategy[Any] | None]]

ANY: Regimes = {"grouped_gemm": any_cases, "moe_block": any_blocks}
OUTSIDE: Regimes = {"grouped_gemm": outside_cases, "moe_block": outside_blocks}
RIGHT = ("torch_loop", "torch_grouped_mm", "transformers_grouped_mm", "transformers_triton")
LIMITED = ("torch_grouped_mm", "transformers_grouped_mm")
OF_PACKAGES = {
    "unsloth:unsloth_grouped_gemm": "unsloth",
    "unsloth:unsloth_grouped_gemm_tma": "unsloth",
    "scattermoe:scattermoe_linear": "scattermoe",
    "scattermoe:scattermoe_mlp": "scattermoe",
    "liger:liger_fused_moe": "liger_kernel",
    "torchtitan:torchtitan_experts": "torchtitan",
    "grouped_gemm:grouped_gemm_gmm": "grouped_gemm",
    "sonicmoe:sonicmoe_experts": "sonicmoe",
}


@pytest.mark.parametrize("name", RIGHT)
@given(data=st.data())
def test_an_adapter_is_right_on_what_it_declares(name: str, data: st.DataObject) -> None:
    target = load_target(name)
    inside = ANY[target.level](target)
    assert inside is not None and target.name == name
    assert not check(data.draw(inside), target).refused


@pytest.mark.parametrize("name", LIMITED)
@given(data=st.data())
def test_what_an_adapter_does_not_declare_is_refused_or_right(name: str, data: st.DataObject) -> None:
    target = load_target(name)
    outside = OUTSIDE[target.level](target)
    assert outside is not None
    check(data.draw(outside), target)


def test_transformers_batched_mm_adds_the_gradients_of_weights_in_their_dtype() -> None:
    case = MoeBlockCase(loads=(2,), hidden_size=2, moe_intermediate_size=1, dtype="float16")
    failure = failure_of(case, load_target("transformers_batched_mm"))
    assert type(failure).__name__ == "WrongValue_down_proj_grad" and failure_of(case, load_target("hugging_face_block")) is None


def test_a_broken_experts_implementation_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experts, "SortedRows", SimpleNamespace(by_expert=lambda ids, E: SortedRows.by_expert(ids.flip(0), E)))
    assert failure_of(MoeBlockCase(loads=(1, 1), hidden_size=2), load_target("transformers_triton")) is not None


def test_our_experts_refuse_what_they_do_not_compute() -> None:
    biased = SimpleNamespace(has_bias=True, has_gate=True, is_transposed=False)
    with pytest.raises(ValueError, match="without biases"):
        experts._implementation(biased, torch.ones(1, 2), torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1))


def test_torch_refuses_rows_of_other_than_16_bytes() -> None:
    refused = check(GroupedGemmCase((1,), N=4, K=3), load_target("torch_grouped_mm")).refused
    assert "RuntimeError" in refused and "16" in refused


@pytest.mark.parametrize("relation", ["empty expert inserted", "fewer gradients"])
@given(data=st.data())
def test_a_loop_whose_bits_follow_alignment_breaks_no_relation(relation: str, data: st.DataObject) -> None:
    target = load_target("torch_loop")
    cases = related_cases(target, relation)
    assert cases is not None
    check(data.draw(cases), target)


def test_moefuzz_targets_lists_every_name_and_its_limits() -> None:
    listed = CliRunner().invoke(commands.app, ["targets"], env={"COLUMNS": "200"})
    assert listed.exit_code == 0 and all(name in listed.output for name in named_targets())
    assert "rows of 16 bytes, contiguous" in listed.output


def test_a_name_that_is_not_installed_is_wrong_usage() -> None:
    done = CliRunner().invoke(commands.app, ["fuzz", "--target", "nonesuch"])
    assert done.exit_code == 2 and "or be a name that `moefuzz targets` lists" in done.output


@pytest.fixture
def fresh_targets() -> Iterator[None]:
    """Targets are loaded once a process; these tests change what is installed."""
    declared_target.cache_clear()
    load_target.cache_clear()
    yield
    declared_target.cache_clear()
    load_target.cache_clear()


@pytest.mark.usefixtures("fresh_targets")
@pytest.mark.parametrize(("adapter", "package"), OF_PACKAGES.items())
def test_a_package_that_is_not_installed_is_one_line_and_wrong_usage(monkeypatch: pytest.MonkeyPatch, adapter: str, package: str) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *args: None if name == package else find_spec(name, *args))
    done = CliRunner().invoke(commands.app, ["fuzz", "--target", f"moefuzz.harness.adapters.{adapter}"])
    line = f"moefuzz: target '{adapter.partition(':')[2]}' needs the package {package}, which is not installed: pip install"
    assert done.exit_code == 2 and done.output.startswith(line) and done.output.count("\n") == 1


@pytest.mark.usefixtures("fresh_targets")
def test_a_target_is_listed_without_an_import_of_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "liger_kernel").mkdir()
    (tmp_path / "liger_kernel" / "__init__.py").write_text("raise RuntimeError('no GPU\\nhere')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "liger_kernel"]:
        monkeypatch.delitem(sys.modules, name)
    spec = "moefuzz.harness.targets.adapters.liger:liger_fused_moe"
    assert declared_target(spec).level == "experts"
    with pytest.raises(BadTarget, match=r"importing liger_kernel.ops failed with RuntimeError: no GPU here \(to install it: pip install"):
        load_target(spec)


def test_unsloths_tiles_divide_what_tiles_of_16_divide() -> None:
    config = KernelConfig(block_m=16, block_n=64, block_k=32)
    assert unsloth._tiles(config, N=48, K=32) == {
        "BLOCK_SIZE_M": 16, "BLOCK_SIZE_N": 16, "BLOCK_SIZE_K": 32, "num_warps": 4, "num_stages": 2,
    }  # fmt: skip
    assert unsloth._tiles(config, N=24, K=40)["BLOCK_SIZE_N"] == 64, "their own check says no"


def test_a_target_without_is_first_gemm_is_not_asked_for_a_second_one() -> None:
    assert not unsloth.unsloth_grouped_gemm.takes(GroupedGemmCase((2,), permute="x", is_first_gemm=False))
    cases = related_cases(unsloth.unsloth_grouped_gemm, "foreign rows NaN")
    assert cases is not None
    assert_all_examples(cases, unsloth.unsloth_grouped_gemm.takes)
