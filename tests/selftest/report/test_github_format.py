"""What a job of GitHub Actions shows: the runner obeys our commands alone, and the summary shows texts as text."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from moefuzz.harness.base.text import printable
from moefuzz.harness.report.formats import github, rendered
from moefuzz.harness.report.formats.texts import clean, headline, whole_text
from moefuzz.harness.run_log.outcome import RegimeCount, RunOutcome
from moefuzz.tests.selftest.support.outcomes import CLEAN, FAILURE, OUTCOMES, RUN


def obeyed(log: str) -> list[tuple[str, dict[str, str], str]]:
    """The commands that the runner of GitHub Actions sees in a log: name, properties and message."""
    found: list[tuple[str, dict[str, str], str]] = []
    for line in re.split(r"\r\n|\r|\n", log):
        if line.lstrip().startswith("::") and "::" in (rest := line.lstrip()[2:]):
            named, _, message = rest.partition("::")
            name, _, properties = named.partition(" ")
            pairs = (pair.partition("=") for pair in properties.split(",") if pair)
            found.append((name, {key: unquote(value, errors="strict") for key, _, value in pairs}, unquote(message, errors="strict")))
        elif "##[" in line:
            found.append(("##[", {}, line))
    return found


@given(OUTCOMES)
def test_the_runner_obeys_our_commands_alone(outcome: RunOutcome) -> None:
    found = obeyed(rendered(outcome, "github"))
    by_failure = ["group", "endgroup", "error"] * len(outcome.failures)
    spoiled = not clean(outcome) and (not outcome.failures or outcome.status not in (0, 1))
    of_run = ["notice"] * len(outcome.notes) + ["notice"] * clean(outcome) + ["error"] * spoiled
    assert [name for name, _, _ in found] == by_failure + of_run
    errors = [(properties["title"], message.split("\n")[0]) for name, properties, message in found[: len(by_failure)] if name == "error"]
    assert errors == [(headline(one), printable(one.finding)) for one in outcome.failures]


def test_a_log_has_the_text_as_it_can_be_pasted() -> None:
    log = rendered(RUN, "github")
    assert f"::group::WrongValue of Y in mine:kernel\n{FAILURE.text}\n    replay    {FAILURE.replay}\n" in log
    assert "::error title=WrongValue of Y in mine%3Akernel::Y is wrong at row 0: got 1, expected 2%0Acase: GroupedGemmCase" in log
    assert "\n::notice title=moefuzz::nothing found; 12 examples of mine:kernel in 20 s\n" in f"\n{rendered(CLEAN, 'github')}"


def tokens_of(page: str) -> list[Any]:
    blocks = MarkdownIt("commonmark").enable("table").parse(page)
    return [token for block in blocks for token in (block, *(block.children or ()))]


def cells_of(tokens: list[Any]) -> list[str]:
    """The texts of the cells of all tables; blanks at their ends have no meaning."""
    inside = [tokens[i + 1].children for i, token in enumerate(tokens) if token.type == "td_open"]
    return ["".join(token.content for token in children).strip() for children in inside]


def ends_of(row: RegimeCount) -> tuple[str, str]:
    """What the first and the last column say of a regime."""
    return printable(row.regime).strip(), printable(row.share_tensor).strip() or "-"


@given(OUTCOMES)
def test_a_summary_shows_texts_of_a_target_as_text(outcome: RunOutcome) -> None:
    tokens = tokens_of(github.step_summary(outcome))
    plain = {"heading", "paragraph", "inline", "text", "text_special", "html_inline", "html_block", "fence", "bullet_list", "list_item"}
    table = {"table", "thead", "tbody", "tr", "th", "td"}
    assert {re.sub("_(open|close)$", "", token.type) for token in tokens} <= plain | table | {"entity"}
    assert {token.content for token in tokens if token.type == "html_inline"} <= {"<code>", "</code>"}
    assert {token.content for token in tokens if token.type == "html_block"} <= {
        "<details><summary>The whole text</summary>\n", "</details>\n"
    }  # fmt: skip
    assert [token.content for token in tokens if token.type == "fence"] == [f"{whole_text(one)}\n" for one in outcome.failures]
    cells = cells_of(tokens)
    assert sorted(zip(cells[::9], cells[8::9], strict=True)) == sorted(map(ends_of, outcome.regimes))


@given(OUTCOMES, st.integers(0, 3000))
def test_a_summary_keeps_within_its_limit(outcome: RunOutcome, limit: int) -> None:
    page, whole = github.step_summary(outcome, limit), github.step_summary(outcome)
    assert len(page.encode()) <= limit
    assert page == whole or "did not fit" in page or limit < 40


def test_a_step_has_one_summary_however_often_it_is_appended_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    github.append_step_summary(RUN)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    large = replace(RUN, failures=tuple(replace(FAILURE, text="é" * 3000, seconds=n) for n in range(100)))
    for _ in range(3):
        github.append_step_summary(large)
    written = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert 900_000 < len(written.encode()) <= github.LIMIT < 2**20
    assert "did not fit" in written
