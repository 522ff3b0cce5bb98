"""Kinds of failure: values with one text each, told apart by class, and the same in reports and run folders of today."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moefuzz.harness.campaign.found import Found
from moefuzz.harness.campaign.run_folder import RunFolder
from moefuzz.harness.failures import (
    INPUT_MODIFIED,
    WRONG_VALUE,
    Crash,
    CudaError,
    Failure,
    WroteOutside,
    class_of,
    failure_from_exception,
    misuse,
    not_refused,
    unreproducible,
)
from moefuzz.harness.failures.facts import Mismatch
from moefuzz.harness.failures.kinds import BASES, MISUSES, Kind
from moefuzz.harness.levels.cases import GroupedGemmCase
from moefuzz.harness.report.folder import id_of, read
from moefuzz.harness.report.write import write
from moefuzz.harness.targets import Target

CASE = GroupedGemmCase((1, 2), N=3)


def exception(name: str, metaclass: type = type) -> Failure:
    """The failure that an exception of a type of this name is."""

    def target() -> None:
        raise metaclass(name, (Exception,), {})("why")

    with pytest.raises(Exception) as info:  # noqa: PT011 - any
        target()
    return failure_from_exception(CASE, "t", info.value)


WRONG, RACE, RAISED = WRONG_VALUE["Y"](CASE, "t", "f"), misuse(CASE, "t", "Race", "k.y_ptr", "f"), exception("ValueError")
TODAY = [
    (WRONG, "WrongValue_Y", "WrongValue", "550f3473"),
    (INPUT_MODIFIED["W"](CASE, "t", "f"), "InputModified_W", "InputModified", "9c1a10d9"),
    (Crash(CASE, "t", "f"), "Crash", "Crash", "42afeee8"),
    (CudaError(CASE, "t", "f"), "CudaError", "CudaError", "2232f6ad"),
    (WroteOutside(CASE, "t", "f"), "WroteOutside", "WroteOutside", "d22ade55"),
    (RACE, "Race_k.y_ptr", "Race k.y_ptr", "f5b5ae55"),
    (RAISED, "Raised_ValueError", "Raised ValueError", "921dfd51"),
    (not_refused(WRONG, "l"), "NotRefused_WrongValue_Y", "NotRefused WrongValue", "9c94576f"),
    (not_refused(RACE, "l"), "NotRefused_Race_k.y_ptr", "NotRefused Race k.y_ptr", "63f910a2"),
    (not_refused(RAISED, "l"), "NotRefused_Raised_ValueError", "NotRefused Raised ValueError", "538463ce"),
    (unreproducible(WRONG, "l"), "Unreproducible_WrongValue", "Unreproducible WrongValue", "f88a5cde"),
    (unreproducible(RACE, "l"), "Unreproducible_Race_k.y_ptr", "Unreproducible Race k.y_ptr", "45867347"),
    (unreproducible(not_refused(RAISED, "l"), "l"), "Unreproducible_NotRefused_Raised_ValueError",
     "Unreproducible NotRefused Raised ValueError", "a6a1fd7a"),
]  # fmt: skip


@pytest.mark.parametrize(("failure", "name", "text", "digits"), TODAY, ids=[name for _, name, *_ in TODAY])
def test_names_texts_and_ids_stay_as_they_are(failure: Failure, name: str, text: str, digits: str) -> None:
    assert (type(failure).__name__, str(failure.kind), id_of(failure)) == (name, text, digits)
    assert class_of(Kind.read(text), failure.tensor) is type(failure)


def kinds() -> st.SearchStrategy[Kind]:
    """Every kind that there is, its detail any text where it may have one."""

    def of(base: str) -> st.SearchStrategy[Kind]:
        needed = base in MISUSES and base != "NotWritten"
        detail = st.text(min_size=1).filter(lambda text: Kind("Raised", text).detail) if needed else st.text()
        return st.builds(Kind, st.just(base), detail if base in ("Raised", *MISUSES) else st.just(""), st.booleans(), st.booleans())

    return st.sampled_from(BASES).flatmap(of)


@given(kinds())
def test_a_kind_is_read_back_from_its_text(kind: Kind) -> None:
    assert Kind.read(str(kind)) == kind and str(kind).isprintable()


@given(st.sampled_from(("", "NotRefused ", "Unreproducible ")), st.sampled_from(BASES), st.text())
def test_a_text_is_a_kind_or_a_value_error(wrapper: str, base: str, rest: str) -> None:
    with contextlib.suppress(ValueError):
        assert Kind.read(wrapper + base + rest).base in BASES


@pytest.mark.parametrize("no_kind", ["", " ", "wrongvalue", "Crash 7", "Race", "NotRefused", "Unreproducible", 7, None, ["Crash"]])
def test_what_is_no_kind_is_a_value_error(no_kind: object) -> None:
    with pytest.raises(ValueError, match="kind of failure"):
        Kind.read(no_kind)


@pytest.mark.parametrize(("kind", "tensor"), [("WrongValue", None), ("WrongValue", "dZ"), ("Crash", "Y"), ("InputModified", "Y")])
def test_a_kind_of_a_tensor_that_it_is_never_about_is_a_value_error(kind: str, tensor: str | None) -> None:
    with pytest.raises(ValueError, match=f"{kind} of {tensor}"):
        class_of(Kind(kind), tensor)


@pytest.mark.parametrize("name", ["Crash", "Hang", "CudaError", "NotRefused Crash", "Race", "Unreproducible"])
def test_an_exception_of_a_target_is_no_ended_process_whatever_its_name(name: str) -> None:
    failure = exception(name)
    assert not failure.kind.ends_a_process and not failure.kind.is_misuse and "--isolate" not in str(failure)
    assert not not_refused(failure, "l").kind.ends_a_process and failure.bucket[1] == f"Raised {name}"


ODD = ["A B", "A\nB", "", "[/]", "a/../b", "神", "NotRefused Crash", "\x1b[31m", "`" * 3, "x" * 3000]


@pytest.mark.parametrize("name", ODD)
def test_an_exception_of_any_name_is_sent_reported_and_resumed(name: str, tmp_path: Path) -> None:
    failure = exception(name)
    for one in (failure, not_refused(failure, "l"), unreproducible(failure, "l")):
        assert type(copy.copy(one)) is type(one)
        report = read(write(one, Target("t", len), tmp_path / "reports", unrun=True))
        assert report.bucket == one.bucket and report.kind == one.kind
        run = RunFolder(tmp_path / "run")
        found = run.offer(one, "t", "any")
        assert found is not None and type(found.failure) is type(one) and found in run.found()


def test_a_type_that_gives_no_name_for_itself_has_one() -> None:
    class Nameless(type):
        @property
        def __name__(cls) -> str:  # type: ignore[override]
            raise RuntimeError

    assert str(exception("Odd", Nameless).kind) == "Raised Odd"


def test_a_wrong_number_that_did_not_come_back_is_printed() -> None:
    mismatch = Mismatch(("row",), (0,), 1.0, 2.0, 2.0, 2.0, 0.0, 1, 1, ((0, 0),), (None,))
    text = str(unreproducible(WRONG_VALUE["Y"](CASE, "t", "Y is wrong", mismatch), "WrongValue, Y is wrong; but not again"))
    assert text.startswith("Unreproducible WrongValue: WrongValue, Y is wrong; but not again") and "row 0: got 1, expected" in text


FOUND_TODAY: dict[str, Any] = {
    "key": "k", "bucket": ["t", "NotRefused WrongValue", "Y", "forward"], "target": "t", "regime": "any", "finding": "f",
    "name": "NotRefused_WrongValue_Y", "tries": 0, "outcome": "", "report": None, "became": None, "case": json.loads(CASE.to_json()),
    "choices": "eA==", "region": {"common": [], "lacking": []},
}  # fmt: skip


def test_a_finding_of_today_is_read() -> None:
    found = Found.from_json(json.dumps(FOUND_TODAY))
    assert found.choices == b"x" and type(found.failure).__name__ == "NotRefused_WrongValue_Y"
    assert Found.from_json(found.to_json()) == found


def test_a_finding_under_the_name_of_another_is_none(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    (tmp_path / "found" / "other.json").write_text(json.dumps(FOUND_TODAY))
    assert run.found() == [] and run.unreadable()[0].endswith("other.json: it holds the finding 'k'")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", "[" * 100_000, "{}", json.dumps(FOUND_TODAY | {"origin": 7}),
     *(json.dumps(FOUND_TODAY | {name: 7.5}) for name in FOUND_TODAY if name != "name"),
     json.dumps(FOUND_TODAY | {"bucket": ["t", "WrongValue", "dZ", "forward"]}), json.dumps(FOUND_TODAY | {"bucket": []})],
)  # fmt: skip
def test_what_is_no_finding_is_told_and_takes_no_place(text: str, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.offer(WRONG, "t", "any") is not None
    (file,) = (tmp_path / "found").glob("*.json")
    text = text.replace('"key": "k"', f'"key": "{file.stem}"')
    file.write_text(text)
    (line,) = RunFolder(tmp_path).unreadable()
    assert line.startswith(f"{file}: ") and "\n" not in line and len(line) > len(f"{file}: ")
    again = RunFolder(tmp_path)
    assert again.found() == [] and again.offer(WRONG, "t", "any") is not None and len(again.found()) == 1
    assert file.read_text() == text
