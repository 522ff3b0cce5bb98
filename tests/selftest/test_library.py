"""docs/library.md: its examples run as they stand, catch a wrong kernel, and what it calls public is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from moefuzz import harness, strategies

from .test_plugin import ROOT, run_pytest

PAGE = (ROOT / "docs" / "library.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
RIGHT = """
from moefuzz.kernels.experts import torch_experts as experts

def grouped_gemm(X, W, m_sizes):
    from moefuzz.kernels.reference import grouped_gemm_reference
    return grouped_gemm_reference(X, W, m_sizes, 1)
"""
WRONG = """
def grouped_gemm(X, W, m_sizes):
    return X.new_zeros(len(X), W.shape[1]) + 0 * X.sum() + 0 * W.sum()

def experts(hidden_states, *others):
    return hidden_states + 0 * sum(each.sum() for each in others[1:4])
"""


@pytest.mark.parametrize(("kernels", "code", "outcome"), [(RIGHT, 0, "3 passed"), (WRONG, 1, "3 failed")], ids=["right", "wrong"])
def test_the_examples_run_as_they_stand(kernels: str, code: int, outcome: str, tmp_path: Path) -> None:
    (tmp_path / "my_kernels.py").write_text(kernels)
    for number, example in enumerate(EXAMPLES):
        (tmp_path / f"test_example_{number}.py").write_text(example)
    assert len(EXAMPLES) == 3
    done, text = run_pytest(".", "-q", "--import-mode=prepend", "--hypothesis-profile=ci", cwd=tmp_path)
    assert done == code and outcome in text
    assert ("moefuzz: smallest case" in text) == bool(code)


def test_what_is_called_public_is_exported() -> None:
    named = set(re.findall(r"`([A-Za-z_]+)[`(]", PAGE.partition("## What is public")[2]))
    exported = set(harness.__all__) | set(strategies.__all__)
    assert (
        named - {"MOEFUZZ_TARGET", "eval", "bucket", "case", "finding", "kind", "mismatch", "target", "tensor", "fails", "fields"}
        <= exported
    )
    assert all(hasattr(module, name) for module in (harness, strategies) for name in module.__all__)


def test_what_the_house_does_not_have_is_named() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonesuch'"):
        _ = harness.nonesuch
