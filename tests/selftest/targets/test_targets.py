"""Targets: what is read off a function, what of it is drawn, and which mistakes are wrong usage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from moefuzz.harness.cli import commands
from moefuzz.harness.levels.cases import GroupedGemmCase, MoeBlockCase
from moefuzz.harness.targets import BadTarget, Target
from moefuzz.harness.targets.registry import default_target, load_target, specs_of_run
from moefuzz.harness.verdict.check import check, failure_of
from moefuzz.kernels.reference import grouped_gemm_reference
from moefuzz.strategies import grouped_gemm_cases
from moefuzz.strategies.regimes import outside_cases, permuted_cases, related_cases
from moefuzz.tests.selftest.support.strategy_checks import assert_all_examples, find_any, minimal_failure

BLOCK = MoeBlockCase(loads=(3, 2, 1), topk=2)


class ByHand(nn.Module):
    """A right block on the weights of transformers 5 alone."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.router, self.weights = block.gate.weight, list(block.experts.parameters())

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        x, (gate_up, down) = hidden_states.flatten(0, 1), self.weights
        weights, chosen = (x @ self.router.T).softmax(-1).topk(2)
        weights = weights / weights.sum(-1, keepdim=True)
        gate, up = torch.einsum("th,eih->tei", x, gate_up).chunk(2, dim=-1)
        experts = torch.einsum("tei,ehi->teh", nn.functional.silu(gate) * up, down)
        output: torch.Tensor = (
            (experts.gather(1, chosen[..., None].expand(-1, -1, x.shape[1])) * weights[..., None]).sum(1).view(hidden_states.shape)
        )
        return output


def by_hand(block: Any) -> nn.Module:
    return ByHand(block)


def test_a_block_needs_no_gate_of_its_own() -> None:
    assert failure_of(BLOCK, Target("by hand", by_hand, level="moe_block")) is None


def test_a_block_target_that_returns_no_module_is_told_so() -> None:
    failure = failure_of(BLOCK, Target("three", lambda block: 3, level="moe_block"))
    assert "a moe_block target returns a torch.nn.Module, got int" in str(failure)


def test_a_block_that_changes_its_input_is_caught() -> None:
    class Changes(ByHand):
        def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
            output = super().forward(hidden_states)
            hidden_states.data.mul_(2)
            return output

    assert type(failure_of(BLOCK, Target("changes", Changes, level="moe_block"))).__name__ == "InputModified_X"


def gathers(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor, topk: int, gather_indices: Any = None, permute_x: bool = False) -> Any:
    return grouped_gemm_reference(X, W, m_sizes, topk, gather_indices, permute_x=permute_x)


def test_what_a_kernel_can_permute_is_drawn_and_no_more() -> None:
    for target in (Target("gathers", gathers), Target("gathers", gathers, dtypes=("bfloat16",))):
        cases = permuted_cases(target)
        assert cases is not None and target.permutes == ("none", "x")
        assert_all_examples(cases, lambda case: (case.permute, case.is_first_gemm, case.fuse_mul_post) == ("x", True, False))
        case = find_any(cases, lambda case: case.topk > 1)
        assert failure_of(case, target) is None
    plain = Target("plain", lambda X, W, m_sizes: X)
    assert permuted_cases(plain) is None
    assert_all_examples(grouped_gemm_cases(plain), lambda case: case.permute == "none")


def test_a_target_is_found_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_kernel_of_theirs.py").write_text(
        "from moefuzz.harness.targets import Target\nmine = Target('x', lambda X, W, m_sizes: X)\n"
    )
    monkeypatch.chdir(tmp_path)
    assert load_target("a_kernel_of_theirs:mine").name == "a_kernel_of_theirs:mine"


def test_a_function_that_cannot_be_called_as_a_target_is_wrong_usage() -> None:
    with pytest.raises(BadTarget, match=r"cannot be called as f\(X, W, m_sizes\): too many positional arguments"):
        load_target("operator:matmul")


def test_a_case_outside_the_declaration_is_never_a_minimal_case() -> None:
    def picky(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
        if X.dtype != torch.bfloat16:
            raise TypeError("bfloat16 only")
        return grouped_gemm_reference(X, W, m_sizes, 1) + (m_sizes.numel() > 2)

    target = Target("picky", picky, dtypes=("bfloat16",))
    assert "raised TypeError: bfloat16 only" in check(GroupedGemmCase((1,)), target).refused
    assert minimal_failure(grouped_gemm_cases(target), target).case == GroupedGemmCase((0, 0, 1), dtype="bfloat16")
    with pytest.raises(BadTarget, match="does not declare that it takes"):
        check(GroupedGemmCase((1,), tail_rows=1), target)


LIMITS: tuple[dict[str, Any], ...] = (
    {"dtypes": ("bfloat16", "float16")}, {"n_multiple": 8}, {"k_multiple": 6, "row_bytes": 16}, {"m_multiple": 4}, {"zero_rows": False},
    {"strides": False}, {"backward": False},
)  # fmt: skip


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_what_lies_outside_a_limit_is_drawn_and_must_be_refused_or_right(limits: dict[str, Any]) -> None:
    def wrong(*tensors: torch.Tensor) -> torch.Tensor:
        return plain(*tensors) + 1

    def refusing(*_: torch.Tensor) -> torch.Tensor:
        raise ValueError("refused")

    right, lying, honest = (Target("limited", function, **limits) for function in (plain, wrong, refusing))
    assert_all_examples(grouped_gemm_cases(right), lambda case: right.limit_on(case) is None)
    outside = outside_cases(right)
    assert outside is not None
    case = find_any(outside, lambda case: sum(case.m_sizes) > 0 or "zero_rows" in limits)
    assert right.limit_on(case) is not None and failure_of(case, right) is None
    assert "raised ValueError: refused" in check(case, honest).refused
    if sum(case.m_sizes):
        failure = failure_of(case, lying)
        assert type(failure).__name__ == "NotRefused_WrongValue_Y" and "and instead of an exception: Y is wrong" in str(failure)


def test_two_limits_are_broken_at_once_too() -> None:
    outside = outside_cases(Target("limited", plain, dtypes=("bfloat16",), k_multiple=8, backward=False))
    assert outside is not None
    find_any(outside, lambda case: case.dtype == "float32" and case.K % 8 > 0 and case.grads == "XW")


def test_a_need_of_rows_does_not_hide_the_other_limits() -> None:
    outside = outside_cases(Target("limited", plain, dtypes=("bfloat16",), k_multiple=8, zero_rows=False))
    assert outside is not None
    find_any(outside, lambda case: case.dtype == "float32" and case.K % 8 > 0 and any(case.m_sizes))


def test_autocast_can_be_declared_off() -> None:
    refusing = Target("refusing", plain, autocast=False)
    assert related_cases(refusing, "autocast") is None and "no autocast" in refusing.declared()
    assert related_cases(Target("taking", plain), "autocast") is not None


def test_a_failing_import_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "breaks.py").write_text("raise ImportError('install it:\\n  pip install it')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadTarget, match=r"failed with ImportError: install it: pip install it$"):
        load_target("breaks:f")


def test_what_limits_nothing_has_no_outside() -> None:
    assert outside_cases(Target("anything", plain)) is None


def plain(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    return grouped_gemm_reference(X, W, m_sizes, 1)


NOTHING: tuple[dict[str, Any], ...] = (
    {"dtypes": ()}, {"dtypes": ("fp8",)}, {"k_multiple": 0}, {"row_bytes": "16"}, {"tail_rows": "kept"}, {"level": "gemm"},
)  # fmt: skip


@pytest.mark.parametrize("declared", NOTHING, ids=str)
def test_a_declaration_that_says_nothing_is_wrong_usage(declared: dict[str, Any]) -> None:
    with pytest.raises(BadTarget, match=f"target 'odd': {next(iter(declared))} must be"):
        Target("odd", plain, **declared)


def test_writing_into_a_given_tensor_is_right() -> None:
    def through_out(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
        out = torch.empty(len(X), W.shape[1], dtype=X.dtype)
        torch.zeros(len(X), W.shape[1], dtype=X.dtype, out=out)
        return out + plain(X, W, m_sizes)

    assert failure_of(GroupedGemmCase((2, 1), N=3, K=2), Target("out", through_out)) is None


def test_allocating_under_vmap_is_right() -> None:
    def mapped(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
        row = lambda x: torch.zeros_like(x) + x
        return plain(torch.vmap(row)(X), W, m_sizes)

    assert failure_of(GroupedGemmCase((2, 1), N=3, K=2), Target("mapped", mapped)) is None


def test_two_exceptions_are_two_buckets() -> None:
    def raises(error: type[Exception]) -> Target:
        def target(*_: torch.Tensor) -> torch.Tensor:
            raise error

        return Target("raises", target)

    buckets = [failure.bucket for failure in (failure_of(GroupedGemmCase((1,)), raises(e)) for e in (KeyError, ValueError)) if failure]
    assert len(set(buckets)) == 2


def test_without_rows_nothing_need_be_attached_to_a_graph() -> None:
    def loop(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
        rows = X.split(m_sizes.tolist())
        return torch.cat([x @ w.T for x, w in zip(rows, W, strict=True)]) if len(X) else X.new_zeros(0, W.shape[1])

    assert failure_of(GroupedGemmCase((0, 0), N=2), Target("loop", loop)) is None


def leaves(*_: torch.Tensor) -> torch.Tensor:
    raise SystemExit(3)


def test_a_target_that_exits_is_a_failure_that_says_where() -> None:
    failure = failure_of(GroupedGemmCase((1,)), Target("leaves", leaves))
    assert "raised SystemExit: 3, at test_targets.py:" in str(failure) and "in leaves" in str(failure)


@pytest.mark.parametrize(
    "case",
    [
        '{"format": 1, "kind": "GroupedGemmCase", "m_sizes": 5}',
        "GroupedGemmCase(m_sizes=(1,), N=2.5)",
        "GroupedGemmCase(m_sizes=[1])",
        "GroupedGemmCase(m_sizes=(1,), n=2)",
        "__import__('os').getcwd()",
        "GroupedGemmCase((1,)",
        "{}",
    ],
)
def test_replaying_what_is_no_case_is_one_line_and_exit_code_2(case: str) -> None:
    done = CliRunner().invoke(commands.app, ["replay", case])
    assert done.exit_code == 2 and done.output.startswith("moefuzz: ") and done.output.count("\n") == 1


def test_a_file_in_the_environment_names_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in_a_file.py").write_text("def mine(X, W, m_sizes): return X")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOEFUZZ_TARGET", "in_a_file.py:mine torch_loop")
    assert specs_of_run("grouped_gemm") == ["in_a_file:mine", "torch_loop"]
    assert default_target().name == "in_a_file:mine"
