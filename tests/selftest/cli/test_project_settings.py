"""Defaults of a project, ``[tool.moefuzz]``: where they are found, what they mean, and what overrules them."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from moefuzz.harness.base.project_settings import BadSettings, ProjectSettings, project_settings
from moefuzz.harness.campaign.settings import RunSettings
from moefuzz.harness.cli import long_run, start_short
from moefuzz.harness.cli.commands import app
from moefuzz.harness.cli.fuzz_options import FuzzOptions

from .test_command_line import assert_refused, run, written

SETTINGS = """
[tool.moefuzz]
targets = ["theirs_of_a_project:kernel", "torch_experts"]
time = "1h"
known-issues = "known.toml"
report-dir = "out/reports"
"""
KERNEL = """
from moefuzz.kernels.reference import grouped_gemm_reference
def kernel(X, W, m_sizes): return grouped_gemm_reference(X, W, m_sizes, 1)
def wrong(X, W, m_sizes): return kernel(X, W, m_sizes) + 1
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with settings; the working directory is a folder in it."""
    (tmp_path / "pyproject.toml").write_text(SETTINGS)
    (tmp_path / "known.toml").write_text("")
    (tmp_path / "theirs_of_a_project.py").write_text(KERNEL)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "pyproject.toml").write_text("[project]\nname = 'another'\n")
    monkeypatch.chdir(tmp_path / "sub")
    monkeypatch.delitem(sys.modules, "theirs_of_a_project", raising=False)
    return tmp_path


def test_the_nearest_file_with_the_table_holds_and_paths_are_relative_to_it(project: Path) -> None:
    said = project_settings()
    assert (said.file, said.time) == (project / "pyproject.toml", "1h")
    assert said.targets == ("theirs_of_a_project:kernel", "torch_experts")
    assert (said.known_issues, said.report_dir) == (Path("../known.toml"), Path("../out/reports"))
    (project / "sub" / "pyproject.toml").write_text("[tool.moefuzz]")
    assert project_settings() == ProjectSettings(project / "sub" / "pyproject.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.moefuzz]\ntarget = 'x'", "[tool.moefuzz]: no key 'target'; did you mean targets?"),
        ("[tool.moefuzz]\nfoo = 1", "no key 'foo'; keys are targets, time, known-issues and report-dir"),
        ("[tool.moefuzz]\ntargets = 'x'", "targets must be a list of texts, got 'x'"),
        ("[tool.moefuzz]\ntargets = [1]", "targets must be a list of texts, got [1]"),
        ("[tool.moefuzz]\ntime = 5", "time must be a text, got 5"),
        ("[tool.moefuzz]\nreport-dir = ''", "report-dir must be a text, got ''"),
        ("[tool.moefuzz]\ntime = 'soon'", "time must be a duration like"), ("[tool.moefuzz", "pyproject.toml: Expected"),
        ("[tool]\nmoefuzz = 5", "[tool.moefuzz] must be a table"), ("\xff moefuzz", "pyproject.toml: "),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_used_are_one_line(text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text(text, encoding="latin1")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadSettings) as error:
        project_settings()
    assert said in str(error.value) and "\n" not in str(error.value)
    for command in ("fuzz --time 1s", "corpus check none", "report"):
        assert_refused(run(*command.split()), said)
    assert run("fuzz", "--help").exit_code == run("models").exit_code == 0


def asked_of(monkeypatch: pytest.MonkeyPatch, *words: str, **env: str) -> tuple[object, ...]:
    """What a short run would be asked for: targets, seconds, known issues, folder of reports; and what stderr says."""
    asked: list[Any] = []

    def noted(of_run: RunSettings, _: object, __: object, ___: object, options: FuzzOptions) -> SimpleNamespace:
        asked.extend((of_run.targets, of_run.seconds, options.known, options.report_dir))
        return SimpleNamespace(run=lambda: 0)

    monkeypatch.setattr(start_short, "ShortRun", noted)
    done = CliRunner().invoke(app, ["fuzz", "--no-isolate", *words], env=env)
    assert done.exit_code == 0, done.output
    return (*asked, done.stderr)


def test_settings_are_the_defaults_of_fuzz(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    targets, seconds, known, into, said = asked_of(monkeypatch)
    assert (targets, seconds, into) == (("theirs_of_a_project:kernel", "torch_experts"), 3600, Path("../out/reports"))
    assert Path(str(known)).samefile(project / "known.toml")
    wanted = "--target theirs_of_a_project:kernel --target torch_experts --time 1h --known-issues ../known.toml --report-dir ../out/reports"
    assert said == f"moefuzz: defaults of ../pyproject.toml: {wanted}\n"


def test_options_and_variables_overrule_settings(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = ("--time", "5s", "--report-dir", "mine")
    targets, seconds, _, into, said = asked_of(monkeypatch, *mine, MOEFUZZ_TARGET="torch_loop")
    assert (targets, seconds, into) == (("torch_loop",), 5, Path("mine"))
    assert said == "moefuzz: defaults of ../pyproject.toml: --known-issues ../known.toml\n"
    (project / "other.toml").write_text("")
    *_, said = asked_of(monkeypatch, *mine, "-t", "torch_loop", "--known-issues", "../other.toml")
    assert said == ""


def test_hours_overrule_a_time_and_an_earlier_run_keeps_its_targets(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[Any] = []

    def noted(_: object, asked: RunSettings, *__: object) -> int:
        began.append((asked.targets, asked.seconds))
        return 0

    monkeypatch.setattr(long_run, "watched", noted)
    assert run("fuzz", "--hours", "2", "--workers", "1", "--run", "R").exit_code == 0
    earlier = {"format": 1, "started": 0.0, **RunSettings(("torch_loop",), 1.0).said("moefuzz fuzz")}
    (project / "sub" / "R" / "run.json").write_text(json.dumps(earlier))
    done = run("fuzz", "--workers", "1", "--run", "R")
    assert done.exit_code == 0 and done.stderr == "moefuzz: defaults of ../pyproject.toml: --time 1h --report-dir ../out/reports\n"
    assert began == [(("theirs_of_a_project:kernel", "torch_experts"), 7200), (("torch_loop",), 3600)]


def test_settings_say_where_reports_are_and_on_what_a_case_runs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = written(project / "out" / "reports", 1)
    assert report.name in run("report").stdout and "right: " in run("replay", report.name).stdout
    (project / "pyproject.toml").write_text(SETTINGS.replace(":kernel", ":wrong"))
    case = "GroupedGemmCase((1,))"
    assert "theirs_of_a_project:wrong" in run("replay", case).stdout
    assert "right: " in CliRunner().invoke(app, ["replay", case], env={"MOEFUZZ_TARGET": "torch_loop"}).stdout
    assert "right: " in run("replay", report.name).stdout, "a report names its own target"
    corpus = project / "sub" / "corpus.ndjson"
    corpus.write_text(json.dumps({"case": {"format": 1, "kind": "GroupedGemmCase", "m_sizes": [1]}}))
    monkeypatch.setattr("moefuzz.harness.verdict.isolation.isolated", contextlib.nullcontext)
    done = run("corpus", "check", str(corpus))
    assert "1 failure in 1 call of 1 case" in done.stdout and "--target theirs_of_a_project:wrong" in done.stderr
