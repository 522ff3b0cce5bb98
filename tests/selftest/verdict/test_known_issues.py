"""Known issues: they cover what they say and nothing else, and one that covers nothing is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import strategies as st
from typer.testing import CliRunner

from moefuzz.harness.cli import commands
from moefuzz.harness.levels.cases import ExpertsCase, GroupedGemmCase
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.check import check, failure_of
from moefuzz.harness.verdict.known_issues import BadKnownIssues, KnownIssues, in_force
from moefuzz.kernels.reference import grouped_gemm_reference
from moefuzz.tests.selftest.pytest_plugin.test_plugin import PROPERTIES, run_pytest
from moefuzz.tests.selftest.support.strategy_checks import found_by_fuzzing

ENTRY = """
[[issue]]
target = "odd_*"
when = '{when}'
failure = "{failure}"
reason = "odd depths are read in pairs"
link = "https://example.org/1"
expires = {expires}
versions = "{versions}"
"""


def wrong_for_odd_depths(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
    return grouped_gemm_reference(X, W, m_sizes, 1) + X.shape[1] % 2


ODD = Target("odd_depths", wrong_for_odd_depths)


def issues(
    folder: Path, when: str = "K % 2 == 1", failure: str = "WrongValue_*", expires: str = "9999-01-01", versions: str = ""
) -> KnownIssues:
    path = folder / "known.toml"
    path.write_text(ENTRY.format(when=when, failure=failure, expires=expires, versions=versions))
    return KnownIssues.read(path)


def test_what_is_known_is_no_failure_and_what_is_not_is_one(tmp_path: Path) -> None:
    with in_force(issues(tmp_path)) as known:
        assert check(GroupedGemmCase((2,), K=3), ODD).known == "odd depths are read in pairs"
        assert not check(GroupedGemmCase((2,), K=2), ODD).known
        assert failure_of(GroupedGemmCase((2,), K=3), Target("other", wrong_for_odd_depths)) is not None
        assert known.report() == []
    assert failure_of(GroupedGemmCase((2,), K=3), ODD) is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"when": "K % 2 == 0"},
        {"when": "m_sizes[3] == 1"},
        {"when": "min(()) == 1"},
        {"when": 'dtype % K == ""'},
        {"when": "T == 1"},
        {"failure": "WrongValue_dW"},
        {"expires": "2020-01-01"},
        {"versions": "torch <1"},
        {"versions": "nonesuch >1"},
    ],
    ids=str,
)
def test_what_an_entry_is_not_about_stays_a_failure(fields: dict[str, str], tmp_path: Path) -> None:
    with in_force(issues(tmp_path, **fields)) as known:
        assert failure_of(GroupedGemmCase((2,), K=3), ODD) is not None and len(known.report()) == 1


def test_a_predicate_may_count_experts_and_rows(tmp_path: Path) -> None:
    with in_force(issues(tmp_path, when='max(m_sizes) > 1 and E == len(m_sizes) and dtype in ("float32",) and not tail_rows')):
        assert failure_of(GroupedGemmCase((2,), K=3), ODD) is None and failure_of(GroupedGemmCase((1,), K=3), ODD) is not None


def test_an_entry_that_covers_nothing_is_named_with_the_reason(tmp_path: Path) -> None:
    known = issues(tmp_path)
    assert known.report()[0].startswith("known issue met no case: odd_*: K % 2 == 1 (odd depths are read in pairs")
    with in_force(known):
        check(GroupedGemmCase((2,), K=3), Target("odd_mended", lambda X, W, m_sizes: grouped_gemm_reference(X, W, m_sizes, 1)))
    assert known.report()[0].startswith("known issue covered no failure in 1 cases that it is about")
    assert issues(tmp_path, expires="2020-01-01").report()[0].startswith("known issue expired on 2020-01-01")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("issue = 1", "must hold tables"),
        ("[[issue]", "known.toml: Expected"),
        ("[[isue]]\n", "nothing else, got isue; did you mean issue?"),
        ("issue = [5]", "entry 1: must be a table"),
        ('[[issue]]\ntarget = "t"\nlink = "l"', "entry 1: lacks expires, reason and when"),
        ('[[issue]]\nresaon = "r"', "entry 1: has no key resaon; did you mean reason?"),
        (ENTRY.format(when="hiden_size > 1", failure="*", expires="9999-01-01", versions=""), "has hiden_size; did you mean hidden_size?"),
        (ENTRY.format(when="Kay > 1", failure="*", expires="9999-01-01", versions=""), "no kind of case has Kay"),
        (ENTRY.format(when="K >", failure="*", expires="9999-01-01", versions=""), "invalid syntax"),
        (ENTRY.format(when="print(K)", failure="*", expires="9999-01-01", versions=""), "must be made of fields"),
        (ENTRY.format(when="K.real > 1", failure="*", expires="9999-01-01", versions=""), "must be made of fields"),
        (ENTRY.format(when="K > 1", failure="*", expires='"soon"', versions=""), "expires must be a date"),
        (
            ENTRY.format(when="K > 1", failure="*", expires="9999-01-01", versions="").replace('"odd_*"', "5"),
            "target must be a text, got 5",
        ),
        (ENTRY.format(when="K > 1", failure="", expires="9999-01-01", versions=""), "failure must be a text"),
        (ENTRY.format(when="K > 1", failure="*", expires="9999-01-01", versions="") + "matched = 5", "entry 1: has no key matched"),
        (ENTRY.format(when="not " * 5000 + "K", failure="*", expires="9999-01-01", versions=""), "when is 'not not"),
        (ENTRY.format(when="K > 1", failure="*", expires="9999-01-01", versions="torch <<1"), "torch <<1"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_and_exit_code_2(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "known.toml"
    path.write_text(text)
    with pytest.raises(BadKnownIssues) as error:
        KnownIssues.read(path)
    assert message in str(error.value) and "\n" not in str(error.value)
    done = CliRunner().invoke(commands.app, ["fuzz", "--known-issues", str(path)])
    assert done.exit_code == 2 and message in done.output and done.output.count("\n") == 1


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "no target is named so"),
        ({"when": "T == 1"}, "a GroupedGemmCase has no T"),
        ({"when": "dtype > 3"}, "when failed on every case: TypeError: '>' not supported between"),
        ({"when": "m_sizes[3] == 1"}, "when failed on every case: IndexError: tuple index out of range"),
        ({"versions": "torch <1"}, f"torch is {torch.__version__}"),
        ({"versions": "nonesuch >1"}, "nonesuch is not installed"),
        ({"when": "K == 9999"}, ""),
    ],
    ids=str,
)
def test_an_entry_that_met_no_case_says_why(fields: dict[str, str], why: str, tmp_path: Path) -> None:
    known = issues(tmp_path, **fields)
    target = ODD if fields else Target("other", ODD.function)
    for case in (GroupedGemmCase((2,), K=2), GroupedGemmCase((1,), K=3)):
        known.match(case, target.name, None)
    assert known.report()[0].startswith(f"known issue met no case{f' ({why}' if why else ': odd_*'}")


def test_an_entry_that_can_be_evaluated_on_some_case_is_not_said_to_fail(tmp_path: Path) -> None:
    known = issues(tmp_path, when="m_sizes[1] == 9")
    for m_sizes in ((1,), (1, 1), (1,)):
        known.match(GroupedGemmCase(m_sizes), ODD.name, None)
    assert known.report()[0].startswith("known issue met no case: odd_*")


def test_another_level_has_names_of_its_own(tmp_path: Path) -> None:
    with in_force(issues(tmp_path, when="T == 1 and hidden_size > 1", failure="*")):
        target = Target("odd_experts", lambda h, *_: h + 1, level="experts")
        assert failure_of(ExpertsCase(loads=(1,)), target) is None and failure_of(ExpertsCase(loads=(2,)), target) is not None


@pytest.mark.heavy
def test_pytest_fuzzes_around_it_in_every_process_and_says_what_met_nothing(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(
        "def odd_kernel(X, W, m_sizes):\n"
        "    from moefuzz.kernels.reference import grouped_gemm_reference\n"
        "    return grouped_gemm_reference(X, W, m_sizes, 1) + X.shape[1] % 2\n"
    )
    issues(tmp_path)
    known = (tmp_path / "known.toml").read_text().replace("odd_*", "*odd_kernel") + ENTRY.format(
        when="K > 9999", failure="*", expires="9999-01-01", versions=""
    )
    (tmp_path / "known.toml").write_text(known)
    target = ("--moe-target=theirs:odd_kernel", "--moe-target=torch_loop", "-n2", "--hypothesis-profile=ci", "-k", "subset")
    known_issues = f"--moe-known-issues={tmp_path / 'known.toml'}"
    code, text = run_pytest(str(PROPERTIES / "test_grouped_gemm.py"), *target, known_issues, cwd=tmp_path)
    assert (
        code == 0
        and "2 passed" in text
        and "known issue met no case (no target is named so): odd_*: K > 9999" in text
        and "were known issues" in text
    )


def test_a_kernel_that_fails_now_and_then_is_known_too(tmp_path: Path) -> None:
    calls: list[int] = []

    def every_third(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
        calls.append(len(X))
        return grouped_gemm_reference(X, W, m_sizes, 1) + (len(calls) % 3 == 0)

    case = st.just(GroupedGemmCase((2,), K=3, grads=""))
    with in_force(issues(tmp_path, failure="NonDeterministic_*")):
        assert list(found_by_fuzzing(Target("odd_now_and_then", every_third), 0.5, lambda _: case)) == []
