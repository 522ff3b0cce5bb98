"""Where a target is defined is told from files alone: no code of a target runs when an outcome is printed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from moefuzz.harness.report.formats import places, rendered
from moefuzz.tests.selftest.support.outcomes import FAILURE, RUN, results_of


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a package that must not be imported, in a folder without an __init__."""
    package = tmp_path / "checkout" / "deep" / "pkg"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')\n")
    (package / "mod.py").write_text(
        "# \xe9\nraise SystemExit\nkernel = None\n\n@a\ndef kernel(X):\n    '\\d'\n\nx, y = 1, 2\nfrom a import b as c\n"
    )
    (package / "broken.py").write_text("def kernel(:\n")
    (tmp_path / "outside.py").write_text("kernel = 1\n")
    monkeypatch.chdir(tmp_path / "checkout")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    return Path.cwd()


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("deep.pkg.mod:kernel", ("deep/pkg/mod.py", 6, 15)),
        ("deep.pkg.mod:y", ("deep/pkg/mod.py", 9, 12)),
        ("deep.pkg.mod:c", ("deep/pkg/mod.py", 10, 21)),
        ("deep.pkg.mod:unknown", ("deep/pkg/mod.py", 1, 4)),
        ("deep.pkg:kernel", ("deep/pkg/__init__.py", 1, 29)),
        ("deep.pkg.broken:kernel", ("deep/pkg/broken.py", 1, 1)),
        ("outside:kernel", None),
        ("nowhere:kernel", None),
        ("../outside:kernel", None),
        ("no target", None),
        (f"{'a' * 5000}:kernel", None),
    ],
)
@pytest.mark.usefixtures("checkout")
def test_a_target_is_found_without_an_import(target: str, place: tuple[str, int, int] | None) -> None:
    found = places.place_of(target)
    assert (found and (found.path, found.line, found.end_column)) == place
    assert not any(name.startswith("deep") for name in sys.modules)


def test_a_place_is_relative_to_the_workspace_of_the_job(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(checkout.parent))
    assert places.place_of("deep.pkg.mod:kernel") == places.Place("checkout/deep/pkg/mod.py", 6, 15)
    assert places.place_of("outside:kernel") == places.Place("outside.py", 1, 11)
    monkeypatch.setenv("GITHUB_WORKSPACE", str(checkout / "deep"))
    assert places.place_of("deep.pkg.mod:kernel") == places.Place("deep/pkg/mod.py", 6, 15)


@pytest.mark.usefixtures("checkout")
def test_a_result_lies_in_the_source_or_in_the_report() -> None:
    in_source, in_report, nowhere = (replace(FAILURE, target=target) for target in ("deep.pkg.mod:kernel", "outside:kernel", "a.b:c"))
    found = [one["locations"][0]["physicalLocation"] for one in results_of(in_source, in_report, replace(nowhere, report="/x"))]
    assert [one["artifactLocation"]["uri"] for one in found] == ["deep/pkg/mod.py", "moefuzz-reports/8c87fac4/report.md", "a/b.py"]
    assert found[0]["region"] == {"startLine": 6, "startColumn": 1, "endLine": 6, "endColumn": 15}
    assert "::error file=deep/pkg/mod.py,line=6,title=" in rendered(replace(RUN, failures=(in_source,)), "github")
