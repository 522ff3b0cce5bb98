"""Adapters: each is installed under its name, declares what is so, and is right on what it declares."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from moefuzz.harness import cli
from moefuzz.harness.cases import GroupedGemmCase
from moefuzz.harness.check import check
from moefuzz.harness.targets import load_target, named_targets
from moefuzz.strategies.regimes import any_cases, outside_cases

ADAPTERS = ("torch_loop", "torch_grouped_mm")


@pytest.mark.parametrize("name", ADAPTERS)
@given(data=st.data())
def test_an_adapter_is_right_on_what_it_declares(name: str, data: st.DataObject) -> None:
    target = load_target(name)
    assert target.name == name and not check(data.draw(any_cases(target)), target).refused


@given(data=st.data())
def test_what_torch_grouped_mm_does_not_declare_it_refuses_or_has_right(data: st.DataObject) -> None:
    target = load_target("torch_grouped_mm")
    outside = outside_cases(target)
    assert outside is not None
    check(data.draw(outside), target)


def test_torch_refuses_rows_of_other_than_16_bytes() -> None:
    refused = check(GroupedGemmCase((1,), N=4, K=3), load_target("torch_grouped_mm")).refused
    assert "RuntimeError" in refused and "16" in refused


def test_moefuzz_targets_lists_every_name_and_its_limits() -> None:
    listed = CliRunner().invoke(cli.app, ["targets"], env={"COLUMNS": "200"})
    assert listed.exit_code == 0 and all(name in listed.output for name in named_targets())
    assert "rows of 16 bytes, contiguous" in listed.output


def test_a_name_that_is_not_installed_is_wrong_usage() -> None:
    done = CliRunner().invoke(cli.app, ["fuzz", "--target", "nonesuch"])
    assert done.exit_code == 2 and "or be one of" in done.output and "torch_loop" in done.output
