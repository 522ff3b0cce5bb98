"""Each link, anchor and path in the documents leads to something that exists, and the README stays short."""

from __future__ import annotations

import itertools
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from moefuzz.tests.selftest.pytest_plugin.test_plugin import ROOT

README_LINES = 150
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FOLDERS = ("benchmarks", "docs", "harness", "kernels", "strategies", "tests")
PATH = re.compile(rf"(?<![\w./-])(?:{'|'.join(FOLDERS)})/[\w./-]*\w")
NAME = re.compile(r"(?<![\w/.])moefuzz\.(?:harness|kernels|strategies|tests)(?:\.[a-z_0-9]+)*(?::\w+)?")
REWRITTEN: set[str] = set()


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def tokens_of(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def links(tokens: list[Token]) -> Iterator[str]:
    """Where the links and pictures of a parsed page lead."""
    for token in tokens:
        yield from (str(token.attrs[name]) for name in ("href", "src") if name in token.attrs)
        yield from links(token.children or [])


def anchors(page: Path) -> set[str]:
    """Return the names that GitHub gives to the headings of a page."""
    tokens = tokens_of(page)
    headings = [after.content for token, after in itertools.pairwise(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_each_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in links(tokens_of(page)):
        path, _, anchor = link.partition("#")
        if path.startswith(("https://", "http://")):
            continue
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(there), f"{link}: {there.name} has no such heading"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in REWRITTEN], ids=named)
def test_each_path_that_a_page_names_exists(page: Path) -> None:
    """Paths are those of a checkout. What a URL leads to is not looked at."""
    text = re.sub(r"https?://\S+", "", page.read_text(encoding="utf-8"))
    paths = {path.rstrip("/") for path in PATH.findall(text)}
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_each_dotted_name_of_ours_is_found() -> None:
    """``moefuzz.harness.levels.cases:Case`` and the like, in code and in commands."""
    names = {name for page in PAGES if page.name not in REWRITTEN for name in NAME.findall(page.read_text(encoding="utf-8"))}
    assert names
    for name in names:
        pkgutil.resolve_name(name)


def test_each_page_of_the_documents_is_linked_from_the_readme() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links(tokens_of(ROOT / "README.md"))}
    assert {page for page in PAGES if (ROOT / "docs") in page.parents} - linked == set()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES
