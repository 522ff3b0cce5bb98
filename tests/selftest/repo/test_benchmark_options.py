"""What the benchmarks refuse before they measure anything, in one line."""

from __future__ import annotations

import argparse
import runpy
from pathlib import Path

import pytest

from moefuzz.tests.selftest.pytest_plugin.test_plugin import ROOT

OPTIONS = runpy.run_path(str(ROOT / "benchmarks" / "options.py"))


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("positive", "0", "must be at least 1, got 0"),
        ("time_span", "soon", "soon"),
        ("target", "no_such_target", "no_such_target"),
        ("output_file", "{folder}", "{folder} is a folder"),
        ("output_file", "{folder}/none/results.json", "there is no folder {folder}/none"),
        ("picture", "{folder}/plot.txt", "must end in .png, .svg or .pdf, got plot.txt"),
        ("grouped_gemm_name", "torch_block", "torch_block is a target of the moe_block level, and not of grouped_gemm"),
    ],
)
def test_a_benchmark_refuses_what_it_cannot_measure(option: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as refused:
        OPTIONS[option](text.format(folder=tmp_path))
    assert message.format(folder=tmp_path) in str(refused.value) and "\n" not in str(refused.value)


def test_a_benchmark_takes_what_it_can_measure(tmp_path: Path) -> None:
    assert OPTIONS["positive"]("3") == 3 and OPTIONS["grouped_gemm_name"]("torch_loop") == "torch_loop"
    assert OPTIONS["picture"](str(tmp_path / "plot.svg")) == tmp_path / "plot.svg"
