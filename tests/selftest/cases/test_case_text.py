"""Cases from text: any JSON in any field is a case or a ValueError of one short line, and so is any argument of a constructor."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moefuzz.harness.levels.cases import ExpertsCase, GroupedGemmCase, MoeBlockCase, case_from_json, case_from_repr
from moefuzz.kernels.kernel_config import KernelConfig

GOOD = [GroupedGemmCase((1, 2), N=3), MoeBlockCase((1, 1), topk=2), ExpertsCase((2, 1))]
PLAIN: list[dict[str, Any]] = [json.loads(case.to_json()) for case in GOOD]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([10**30, -(10**30), 2**31, 2**63]) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


ONE_LINE = r"\A[^\x00-\x1f]{1,600}\Z"


def check_text(text: str) -> None:
    """The text is a case, which is then the same through JSON and its repr, or a ValueError of one line."""
    try:
        case = case_from_json(text)
    except ValueError as error:
        assert re.match(ONE_LINE, str(error))  # noqa: PT017 - or no error
    else:
        assert case_from_json(case.to_json()) == case == case_from_repr(repr(case))


@given(st.sampled_from(PLAIN), st.data(), VALUES)
def test_any_json_in_a_field_is_a_case_or_one_line(plain: dict[str, Any], data: st.DataObject, value: Any) -> None:
    name = data.draw(st.sampled_from(sorted(plain)) | st.text())
    check_text(json.dumps(plain | {name: value}))


@given(st.sampled_from([field.name for field in dataclasses.fields(KernelConfig)]) | st.text(), VALUES)
def test_any_json_in_a_config_is_a_case_or_one_line(name: str, value: Any) -> None:
    check_text(json.dumps(PLAIN[0] | {"config": PLAIN[0]["config"] | {name: value}}))


@given(VALUES)
@example([[[[]]]])
def test_any_json_is_a_case_or_one_line(value: Any) -> None:
    check_text(json.dumps(value))


@given(st.sampled_from(GOOD), st.data(), VALUES)
def test_any_argument_makes_a_case_or_one_line(case: Any, data: st.DataObject, value: Any) -> None:
    name = data.draw(st.sampled_from([field.name for field in dataclasses.fields(case)]))
    try:
        made = dataclasses.replace(case, **{name: value})
    except ValueError as error:
        assert re.match(ONE_LINE, str(error))  # noqa: PT017 - or no error
    else:
        assert type(getattr(made, name)) in (int, bool, str, tuple, KernelConfig, type(None))
        assert case_from_repr(repr(made)) == made


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("config", "x"), ("config", []), ("kind", ["a"]), ("kind", {}), ("format", True), ("format", 1.0), ("is_first_gemm", "no"),
        ("is_first_gemm", 1), ("fuse_mul_post", None), ("N", True), ("N", 2.0), ("N", float("nan")), ("N", 10**30), ("seed", 2**64),
        ("m_sizes", [2**31]), ("m_sizes", [2**30] * 2), ("m_sizes", [[1]]), ("m_sizes", [True]), ("m_sizes", "1"),
        ("m_sizes", ["1"] * 10**6), ("dtype", "float\n32"), ("n\n", 1),
        ("config", {"num_warps": True}), ("config", {"block_m": "16"}), ("config", {"block_m": 2**40}), ("config", {"x": 1}),
        ("config", {"num_stages": 10**30}), ("m_sizes", [-1] * 10**6), ("topk", 10**6),
    ],
)  # fmt: skip
def test_what_no_field_may_be_is_one_line(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=ONE_LINE):
        case_from_json(json.dumps(PLAIN[0] | {field: value}))


def test_a_million_experts_are_a_case() -> None:
    case = case_from_json(json.dumps(PLAIN[0] | {"m_sizes": [1] * 10**6}))
    assert isinstance(case, GroupedGemmCase) and case.M == 10**6


@pytest.mark.parametrize("text", ["[" * 10**5, '{"a":' * 10**5, "", "nul", "\x00", '{"format": 1', "9" * 10**4])
def test_json_that_holds_no_case_is_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=ONE_LINE):
        case_from_json(text)


@pytest.mark.parametrize(
    "text",
    ["(" * 3000, "-" * 10**5 + "1", "GroupedGemmCase((1,), **{'N': 1})", "GroupedGemmCase(*[(1,)])", "GroupedGemmCase((1,), N=\x00)",
     "GroupedGemmCase(())", "GroupedGemmCase()", f"GroupedGemmCase({'1,' * 3000})", "KernelConfig()", f"f({'x' * 10**4})", "'\n'",
     "\ud800"],
)  # fmt: skip
def test_a_repr_that_is_no_case_is_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=ONE_LINE):
        case_from_repr(text)
