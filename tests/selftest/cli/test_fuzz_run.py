"""``moefuzz fuzz`` as a user meets it: what it prints, what it repeats, when it ends, and what it ends with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from typer.testing import CliRunner, Result

from moefuzz.harness import __main__
from moefuzz.harness.base import signals
from moefuzz.harness.campaign.campaign import Campaign
from moefuzz.harness.campaign.found import Found
from moefuzz.harness.campaign.run_folder import RunFolder
from moefuzz.harness.cli import commands, progress
from moefuzz.harness.levels.cases import GroupedGemmCase
from moefuzz.harness.targets import Target
from moefuzz.harness.verdict.check import failure_of
from moefuzz.kernels.reference import grouped_gemm_reference
from moefuzz.strategies.regimes import REGIMES

WRONG = """
from moefuzz.kernels.reference import grouped_gemm_reference

def doubles(X, W, m_sizes):
    return grouped_gemm_reference(X, W, m_sizes, 1) * (2 if len(m_sizes) > 2 else 1)
"""
SMALLEST = "GroupedGemmCase(m_sizes=(0, 0, 1))"


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A target in the working directory."""
    (tmp_path / "wrong_of_a_run.py").write_text(WRONG)
    monkeypatch.chdir(tmp_path)
    return "wrong_of_a_run:doubles"


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    yield
    signals._told = signals._listens = False
    for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
        signal.signal(number, handler)


def fuzz(*words: str, reports: Path) -> Result:
    return CliRunner().invoke(commands.app, ["fuzz", "--no-isolate", "--report-dir", str(reports), *words])


def test_a_run_without_an_example_is_no_success(tmp_path: Path) -> None:
    done = fuzz("--time", "0.000001s", "-t", "torch_loop", reports=tmp_path)
    assert done.exit_code == 5 and "no example ran: nothing is known of the target" in done.stdout and "nothing found" not in done.stdout


def test_a_failure_is_told_when_it_is_found_and_the_run_ends_after_as_many_as_are_asked_for(wrong: str) -> None:
    done = fuzz("--examples", "2000", "--max-failures", "1", "--seed", "1", "-t", wrong, reports=Path("r"))
    assert done.exit_code == 1 and done.stdout.count("FAILED") == 1 and "seed 1" in done.stdout
    told, minimised = ("found WrongValue of Y in regime any after ", "FAILED in regime any, minimised:")
    assert done.stdout.index(told) < done.stdout.index(minimised) and "ended after 1 failure, as --max-failures asks" in done.stdout
    (page,) = Path("r").glob("*/report.md")
    assert SMALLEST in page.read_text() and f"report    {page}\n" in done.stdout


def test_a_seed_repeats_what_a_run_draws(tmp_path: Path) -> None:
    def drawn(seed: str, folder: str) -> list[str]:
        cases: list[str] = []

        def noting(X: torch.Tensor, W: torch.Tensor, m_sizes: torch.Tensor) -> torch.Tensor:
            cases.append(f"{m_sizes.tolist()} {tuple(W.shape)} {X.dtype} {X.sum().item()}")
            return grouped_gemm_reference(X, W, m_sizes, 1) + (len(m_sizes) == 4)  # and it fails now and then

        regimes = {"grouped_gemm": {name: REGIMES["grouped_gemm"][name] for name in ("any", "exact", "skewed")}}
        campaign = Campaign(RunFolder(tmp_path / folder), [Target("noting", noting)], regimes, seed=seed)
        turns = [step for step in campaign.steps(time.monotonic() + 300, examples=130) if not isinstance(step, Found)]
        assert campaign.explorer.examples == 130 and len(turns) > 3
        return cases

    assert drawn("1", "a") == drawn("1", "b") != drawn("2", "c")


def test_a_regime_alone_is_drawn(tmp_path: Path) -> None:
    done = fuzz("--examples", "10", "--regime", "tile-edge", "--regime", "Any", "-t", "torch_loop", reports=tmp_path)
    assert fuzz("--examples", "1", "--regime", "far", reports=tmp_path).exit_code == 0, "which one of our own has"
    assert done.exit_code == 0 and "10 examples" in done.stdout and "exact" not in done.stdout and "no time for tile edge" in done.stdout
    for words, said in (
        (("--regime", "sqare"), "there is no regime 'sqare' here; did you mean 'square'?"),
        (("--regime", "permuted"), "target 'torch_loop' declares no case of permuted"),
    ):
        refused = fuzz(*words, "-t", "torch_loop", reports=tmp_path)
        assert refused.exit_code == 2 and refused.stderr == f"moefuzz: --regime: {said}\n"


def test_a_format_is_printed_alone_and_the_text_goes_to_standard_error(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    done = fuzz("--examples", "40", "--format", "json", "--seed", "1", "--max-failures", "1", "-t", wrong, reports=Path("r"))
    said = json.loads(done.stdout)
    assert done.exit_code == 1 and "FAILED" in done.stderr and said["status"] == 1 and said["seed"] == 1
    (failure,) = said["failures"]
    assert (failure["kind"], failure["tensor"], failure["case"], failure["minimised"]) == ("WrongValue", "Y", SMALLEST, True)
    assert (Path(failure["report"]) / "case.json").is_file()
    done = fuzz("--examples", "5", "--format", "github", "-t", "torch_loop", reports=Path("r"))
    assert done.exit_code == 0 and done.stdout.startswith("::notice") and "## moefuzz" in Path("summary.md").read_text()
    refused = fuzz("--format", "yaml", reports=Path("r"))
    assert refused.exit_code == 2 and refused.stderr == "moefuzz: --format must be one of text, json, junit, sarif, github, got 'yaml'\n"


def test_without_a_terminal_a_line_says_how_far_the_run_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LINE_SECONDS", 0.2)
    done = fuzz("--time", "1s", "--regime", "exact", "-t", "torch_loop", reports=tmp_path)  # far rows may end torch's process
    assert " s: " in done.stdout and "0 distinct failures; exploring" in done.stdout


def test_a_corpus_runs_on_the_targets_that_it_was_met_with(wrong: str) -> None:
    run = Path("R")
    (run / "events").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"format": 1, "targets": [wrong]}))
    met = json.loads(GroupedGemmCase((0, 0, 1), K=2).to_json())
    turn = {"at": 1.0, "worker": "w", "kind": "turn", "target": wrong, "regime": "any", "examples": 1, "interesting": [met]}
    (run / "events" / "w.ndjson").write_text(json.dumps(turn) + "\n")
    assert CliRunner().invoke(commands.app, ["corpus", "collect", "R"]).exit_code == 0
    done = CliRunner().invoke(commands.app, ["corpus", "check", "corpus.ndjson"])
    assert done.exit_code == 1 and done.stdout.startswith(f"1 case on {wrong}\n") and "1 failure in 1 call of 1 case" in done.stdout
    done = CliRunner().invoke(commands.app, ["corpus", "check", "corpus.ndjson", "-t", "torch_experts"])
    assert done.exit_code == 5 and "0 failures in 0 calls of 1 case" in done.stdout, "it is of another level"


WANDERS = """
import os
def f(X, W, m_sizes):
    os.chdir("/")
    raise ValueError("lost")
"""


def test_reports_lie_where_the_run_was_started_though_the_target_changes_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wanders.py").write_text(WANDERS)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(commands.app, ["fuzz", "--no-isolate", "--examples", "5", "--max-failures", "1", "-t", "wanders:f"])
    os.chdir(tmp_path)  # the target has changed it
    (page,) = tmp_path.glob("moefuzz-reports/*/report.md")
    assert done.exit_code == 1 and f"report    {page.relative_to(tmp_path)}\n" in done.stdout


def test_an_error_of_moefuzz_is_told_from_a_finding(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise TypeError("not so\nmuch")

    monkeypatch.setattr(commands, "app", broken)
    assert __main__._status() == 4
    assert capsys.readouterr().err.endswith("moefuzz: an error of moefuzz itself, not of a target: TypeError: not so much\n")


PRINTS = """
import os
from moefuzz.kernels.reference import grouped_gemm_reference

def prints(X, W, m_sizes):
    print("::error::not ours", flush=True)
    if os.fork() == 0:
        return None
    return grouped_gemm_reference(X, W, m_sizes, 1)
"""


@pytest.mark.heavy
def test_what_a_target_prints_and_forks_reaches_neither_the_document_nor_the_next_hour(tmp_path: Path) -> None:
    (tmp_path / "prints_and_forks.py").write_text(PRINTS)
    command = [sys.executable, "-m", "moefuzz", "fuzz", "--examples", "10", "--format", "json", "-t", "prints_and_forks:prints"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0 and json.loads(done.stdout)["status"] == 0 and "::error::not ours" in done.stderr
    assert not [one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(tmp_path)]


@pytest.mark.heavy
def test_a_closed_pipe_is_no_finding() -> None:
    command = f"{sys.executable} -m moefuzz fuzz --no-isolate --examples 5 -t torch_loop | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)  # noqa: S603, S607
    assert done.returncode == 141 and not done.stderr


def test_what_a_target_raises_is_named_whatever_it_is() -> None:
    class Mute(BaseException):
        def __str__(self) -> str:
            raise GeneratorExit

    signals.listen()  # as the command does: an interrupt that nobody sent is the target's own
    for error in (KeyboardInterrupt(), GeneratorExit(), SystemExit(0), Mute()):

        def raises(*_: torch.Tensor, error: BaseException = error) -> torch.Tensor:
            raise error

        failure = failure_of(GroupedGemmCase((1,)), Target("raises", raises))
        assert failure is not None and str(failure.kind) == f"Raised {type(error).__name__}"
