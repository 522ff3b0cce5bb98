"""docs/guide/your-kernel.md: each example is a right target, and with a fault in its kernel a failing one."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings

from moefuzz import GroupedGemmCase, Target, check, grouped_gemm_cases
from moefuzz.harness.failures import Failure
from moefuzz.tests.selftest.pytest_plugin.test_plugin import ROOT

PAGE = (ROOT / "docs" / "guide" / "your-kernel.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE, re.DOTALL))
TARGETS = sorted(name for name, text in FILES.items() if "\ntarget = " in text)
FAULT = ("range(0, K, BLOCK_K)", "range(0, K // BLOCK_K * BLOCK_K, BLOCK_K)")  # the last, incomplete step is left out


def written(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, fault: tuple[str, str] = ("", "")) -> Target:
    """Write the files of the page, with a fault if one is given, and return the target of one of them."""
    for each, text in FILES.items():
        (folder / f"{each}.py").write_text(text.replace(*fault))
        monkeypatch.delitem(sys.modules, each, raising=False)
    monkeypatch.syspath_prepend(str(folder))
    target = importlib.import_module(name).target
    assert isinstance(target, Target) and target.name == f"{name}:target"
    return target


def hold_to_the_reference(target: Target) -> None:
    @settings(max_examples=25, derandomize=True, database=None, deadline=None, phases=[Phase.generate])
    @given(grouped_gemm_cases(target))
    def is_right(case: GroupedGemmCase) -> None:
        check(case, target)

    is_right()


def test_every_way_to_wrap_a_kernel_has_an_example() -> None:
    assert TARGETS == ["autotuned", "ekn", "forward_only", "literal_cuda", "multiprocessors", "offsets", "trainable"]


@pytest.mark.parametrize("name", TARGETS)
def test_an_example_is_right(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold_to_the_reference(written(tmp_path, monkeypatch, name))


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in {"offsets", "ekn"}])
def test_an_example_around_a_wrong_kernel_fails(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = written(tmp_path, monkeypatch, name, FAULT)
    with pytest.raises(Failure):
        hold_to_the_reference(target)
