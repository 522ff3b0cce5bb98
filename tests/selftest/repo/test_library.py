"""docs/guide/library.md: its examples run as they stand, catch a wrong kernel, and what it calls public is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import moefuzz
from moefuzz import harness, strategies
from moefuzz.tests.selftest.pytest_plugin.test_plugin import ROOT, run_pytest

PAGE = (ROOT / "docs" / "guide" / "library.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
RIGHT = """
import functools
import time
from moefuzz.kernels.experts import torch_experts
from moefuzz.kernels.reference import grouped_gemm_reference

@functools.cache
def compiled():
    time.sleep(0.3)

def grouped_gemm(X, W, m_sizes):
    compiled()
    return grouped_gemm_reference(X, W, m_sizes, 1)

def experts(hidden_states, *others):
    compiled()
    return torch_experts(hidden_states, *others)
"""
WRONG = """
def grouped_gemm(X, W, m_sizes):
    return X.new_zeros(len(X), W.shape[1]) + 0 * X.sum() + 0 * W.sum()

def experts(hidden_states, *others):
    return hidden_states + 0 * sum(each.sum() for each in others[1:4])
"""


# A project that knows nothing of our profiles has Hypothesis' deadline; its phase "explain" alone takes a minute before Python 3.12.
THEIR_CONFTEST = """
from hypothesis import Phase, settings

phases = [phase for phase in Phase if phase != Phase.explain]
settings.register_profile("theirs", deadline=200, derandomize=True, database=None, max_examples=20, phases=phases)
settings.load_profile("theirs")
"""


@pytest.mark.parametrize(("kernels", "code", "outcome"), [(RIGHT, 0, "3 passed"), (WRONG, 1, "3 failed")], ids=["right", "wrong"])
def test_the_examples_run_as_they_stand(kernels: str, code: int, outcome: str, tmp_path: Path) -> None:
    (tmp_path / "my_kernels.py").write_text(kernels)
    (tmp_path / "conftest.py").write_text(THEIR_CONFTEST)
    for number, example in enumerate(EXAMPLES):
        (tmp_path / f"test_example_{number}.py").write_text(example)
    assert len(EXAMPLES) == 3
    done, text = run_pytest(".", "-q", cwd=tmp_path)
    assert done == code and outcome in text
    assert ("moefuzz: smallest case" in text) == bool(code)
    assert "_fitted" not in text, "a case is printed as it is, and not as it was made"


def test_what_is_called_public_is_exported() -> None:
    named = set(re.findall(r"`([A-Za-z_]+)[`(]", PAGE.partition("## What is public")[2]))
    others = {"moefuzz", "MOEFUZZ_TARGET", "eval", "bucket", "case", "finding", "kind", "mismatch", "target", "tensor", "fails", "fields"}
    assert named - others <= set(moefuzz.__all__)
    assert all(hasattr(module, name) for module in (harness, strategies) for name in module.__all__)


def test_what_the_house_does_not_have_is_named() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonesuch'"):
        _ = harness.nonesuch  # type: ignore[attr-defined]  # mypy, which calls unused ignores an error, sees it too
