"""What ``--format`` prints: nothing is lost, every rule of JSON, JUnit and SARIF holds, and what a target says stays text."""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given

from moefuzz.harness.base import text
from moefuzz.harness.failures import kinds
from moefuzz.harness.report.formats import FORMATS, rendered, sarif, texts
from moefuzz.harness.report.formats.json_document import BadOutcome, document, outcome_from_json
from moefuzz.harness.run_log.outcome import RunOutcome
from moefuzz.tests.selftest.support.outcomes import CLEAN, COUNT, FAILURE, OUTCOMES, RUN, results_of


def test_formats_by_name() -> None:
    assert FORMATS == ("text", "json", "junit", "sarif", "github")
    assert [bool(rendered(RUN, name)) for name in FORMATS] == [False, True, True, True, True]


@given(OUTCOMES)
def test_every_format_can_be_written_to_a_pipe(outcome: RunOutcome) -> None:
    for name in FORMATS:
        assert all(character.isprintable() or character == "\n" for character in rendered(outcome, name).encode().decode())


def test_formats_need_no_library_but_junitparser() -> None:
    files = [*Path(texts.__file__).parent.glob("*.py"), Path(text.__file__), Path(str(inspect.getsourcefile(RunOutcome)))]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    named = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    named |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    others = {name for name in named if name.partition(".")[0] not in sys.stdlib_module_names}
    assert others == {"junitparser", "moefuzz.harness.base.text", "moefuzz.harness.run_log.outcome"}
    assert not any(isinstance(node, ast.ImportFrom) and node.level > 1 for node in nodes)


@given(OUTCOMES)
def test_nothing_found_is_said_of_a_clean_run_alone(outcome: RunOutcome) -> None:
    spoiled = outcome.failures or outcome.status or any(regime.failing for regime in outcome.regimes)
    assert texts.clean(outcome) == (not spoiled) == texts.verdict(outcome).startswith("nothing found")


# JSON


@given(OUTCOMES)
def test_an_outcome_comes_back_from_json(outcome: RunOutcome) -> None:
    assert outcome_from_json(document(outcome)) == outcome


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "the outcome has format 2, this version of moefuzz reads 1"),
        ({"seed": True}, "outcome.seed: True is no int"),
        ({"seconds": "1"}, "outcome.seconds: '1' is no float"),
        ({"seconds": 10**400}, "is no float"),
        ({"targets": "a"}, "outcome.targets: 'a' is no list"),
        ({"unreached": [["a"]]}, "outcome.unreached[0]: ['a'] has not 2 entries"),
        ({"failures": [{}]}, "outcome.failures[0]: 'case' is missing"),
        ({"more": 1}, "outcome: 'more' is not known"),
        ({"regimes": [3]}, "outcome.regimes[0]: 3 is no object"),
    ],
)
def test_a_document_of_another_type_is_one_line(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BadOutcome) as refused:
        outcome_from_json(json.dumps({**json.loads(document(RUN)), **change}))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, "1" * 5000])
def test_what_is_no_document_is_one_line(text: str) -> None:
    with pytest.raises(BadOutcome, match=r"^[^\n]+$"):
        outcome_from_json(text)


# JUnit


def xml_of(outcome: RunOutcome) -> ET.Element:
    return ET.fromstring(rendered(outcome, "junit"))  # noqa: S314  (our own document)


def found_in(element: ET.Element, path: str) -> str:
    """The text of an element below another."""
    return element.findtext(path) or ""


RESULTS: tuple[tuple[str, ...], ...] = ((), ("failure",), ("error",), ("skipped",))


@given(OUTCOMES)
def test_junit_has_every_failure_once_and_counts_that_are_true(outcome: RunOutcome) -> None:
    suites = xml_of(outcome)
    for suite in suites:
        cases = suite.findall("testcase")
        assert all({"classname", "name", "time"} <= set(case.keys()) and float(case.get("time", "")) >= 0 for case in cases)
        assert {tuple(child.tag for child in case) for case in cases} <= {
            (*result, *said) for result in RESULTS for said in ((), ("system-out",))
        }
        found = {"tests": len(cases)} | {f"{tag}s": len(suite.findall(f"testcase/{tag}")) for tag in ("failure", "error")}
        assert {name: int(suite.get(name, "")) for name in found} == found
    said = [element.text or "" for element in suites.iter("failure")]
    assert sorted(said) == sorted(map(texts.whole_text, outcome.failures))
    assert bool(suites.findall("testsuite/testcase/error")) == (outcome.status not in (0, 1))


def test_junit_of_a_run() -> None:
    outcome = replace(RUN, failures=(FAILURE, replace(FAILURE, tensor="dX")), notes=("a\tnote",))
    (suite,) = xml_of(outcome)
    properties = [(one.get("name"), one.get("value")) for one in suite.iter("property")]
    assert properties == [("device", "a CPU"), ("versions", "Python 3.12"), ("seed", "7"), ("exit code", "1"), ("note", "a note")]
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert [*cases] == ["exact", "far", "far (2)", "any"]
    assert {case.get("classname") for case in cases.values()} == {"mine.kernel"}
    assert cases["far"].get("time") == "1.25"
    assert found_in(cases["far"], "failure").endswith("\n    replay    moefuzz replay --target mine:kernel X")
    assert found_in(cases["far"], "system-out").endswith("\nbound     50.0% used by dX\nreport    moefuzz-reports/8c87fac4/report.md")
    assert [one.get("message") for one in cases["any"]] == ["there was no time for it"]
    assert cases["exact"].find("skipped") is None


def test_a_regime_without_an_example_did_not_pass() -> None:
    (suite,) = xml_of(replace(CLEAN, regimes=(replace(COUNT, examples=0, failing=0),)))
    assert suite.get("skipped") == "2"


# SARIF


def is_text(message: Any) -> bool:
    return isinstance(message["text"], str) and message["text"] != ""


@given(OUTCOMES)
def test_sarif_has_what_github_requires(outcome: RunOutcome) -> None:
    log = json.loads(rendered(outcome, "sarif"))
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert log["version"] == "2.1.0"
    assert len({rule["id"] for rule in rules}) == len(rules)
    assert all(is_text(rule[part]) for rule in rules for part in ("shortDescription", "fullDescription", "help"))
    assert all(len(rule["name"]) <= 255 and len(rule["shortDescription"]["text"]) <= 1024 for rule in rules)
    assert len(run["results"]) == len(outcome.failures)
    for result in run["results"]:
        place = result["locations"][0]["physicalLocation"]
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert is_text(result["message"])
        assert "](" not in result["message"]["text"]
        assert re.fullmatch(r"[A-Za-z0-9._~/%-]+", place["artifactLocation"]["uri"])
        assert 1 <= place["region"]["startLine"] == place["region"]["endLine"]
        assert 1 <= place["region"]["startColumn"] <= place["region"]["endColumn"]
        assert result["partialFingerprints"]["primaryLocationLineHash"]


def test_every_kind_of_failure_has_a_rule() -> None:
    assert {*kinds.BASES} - {"Failure"} <= {*sarif.KINDS}


def test_the_same_bug_has_the_same_fingerprint() -> None:
    unreported = replace(FAILURE, report="")
    smaller = replace(unreported, case="GroupedGemmCase(m_sizes=(1,))", finding="another")
    others = (replace(unreported, tensor=None), replace(unreported, kind="Crash"), replace(unreported, target="a:b"))
    prints = [one["partialFingerprints"]["primaryLocationLineHash"] for one in results_of(FAILURE, unreported, smaller, *others)]
    assert prints[0] == "8c87fac4"
    assert prints[1] == prints[2]
    assert len(set(prints)) == 5
