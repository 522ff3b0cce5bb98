"""The command line: fast where nothing runs, and one clear line for what is wrong."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer import Exit
from typer.testing import CliRunner, Result

from moefuzz.harness.base.durations import duration
from moefuzz.harness.base.environment import why_not_writable
from moefuzz.harness.base.suggestions import without_file
from moefuzz.harness.cli.commands import app
from moefuzz.harness.cli.options import seconds_of
from moefuzz.harness.targets import BadTarget
from moefuzz.harness.targets.registry import load_target

HEAVY = ("torch", "triton", "numpy", "transformers", "hypothesis", "matplotlib", "jinja2", "huggingface_hub")
WITHOUT_A_RUN = """
import sys
from typer.testing import CliRunner
from moefuzz.harness.cli.commands import app

for status, words in ((0, "--help"), (0, "-V"), (0, "fuzz --help"), (2, "fuzz --tme 5s"), (2, "fuzz --time soon"), (0, "models")):
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == status, (words, done.output)
for words, completed in (("fuzz -t transformers_b", "transformers_batched_mm"), ("report 0", "01234567"), ("replay 0", "01234567")):
    asked = {"_MOEFUZZ_COMPLETE": "complete_bash", "COMP_WORDS": f"moefuzz {words}", "COMP_CWORD": str(len(words.split()))}
    done = CliRunner().invoke(app, prog_name="moefuzz", env=asked)
    assert done.output.split() == [completed], (words, done.output)
print([name for name in sys.argv[1:] if name in sys.modules])
"""


def test_help_versions_completion_and_wrong_options_wait_for_no_torch(tmp_path: Path) -> None:
    report = tmp_path / "moefuzz-reports" / "01234567" / "case.json"
    report.parent.mkdir(parents=True)
    report.write_text(json.dumps({"kind": "Crash", "target": "theirs"}))
    command = [sys.executable, "-c", WITHOUT_A_RUN, *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)  # noqa: S603
    assert (done.stdout, done.stderr) == ("[]\n", "")


def run(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def assert_refused(done: Result, *said: str) -> None:
    """One line on stderr, of a readable length, and exit code 2."""
    assert (done.exit_code, done.stdout) == (2, ""), done.output
    assert done.stderr.startswith("moefuzz: ") and done.stderr.count("\n") == 1 and len(done.stderr) < 800, done.stderr
    assert all(text in done.stderr for text in said), done.stderr


EMPTY = {
    "fuzz": (("--run", ""), ("--report-dir=",), ("--known-issues", ""), ("-t", ""), ("--known-reports", "")),
    "report": (("",),), "replay": (("",),), "summary": (("",),), "merge": (("R", "--into", ""), ("",)),
    "corpus": (("check", ""), ("collect", "R", "--into=")),
}  # fmt: skip


@pytest.mark.parametrize("words", [(command, *words) for command, each in EMPTY.items() for words in each], ids=str)
def test_an_empty_text_names_nothing(words: tuple[str, ...]) -> None:
    assert_refused(run(*words), "empty")


@pytest.mark.parametrize("command", ["report", "summary", "sanitize", "corpus check", "corpus collect", "fuzz --time 1s --known-reports"])
def test_a_name_that_no_file_can_have_is_one_line(command: str) -> None:
    assert_refused(run(*command.split(), "x" * 300), "xxx", "File name too long")


CASE = "GroupedGemmCase((1,))"


@pytest.mark.parametrize(
    "case",
    [
        "(" * 3_000, "GroupedGemmCase(" * 3_000, "-" * 50_000 + "(1)", "[" * 100_000, '{"format":' * 50_000, "x" * 100_000, "m/" * 50_000,
        f"{CASE[:-1]}, N=\x00)", "no\x00such", f"{CASE[:-1]}, N={'x' * 100_000})", " ", "\n", "moefuzz", ".", "None", "-(-1)",
    ],
    ids=lambda case: repr(case[-20:]),
)  # fmt: skip
def test_what_names_no_case_is_one_line(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(run("replay", "--", case))


def written(folder: Path, number: int, **other: Any) -> Path:
    """A report's folder, as far as it is read."""
    case = {"format": 1, "kind": "GroupedGemmCase", "m_sizes": [number]}
    plain = {"format": 1, "kind": "WrongValue", "tensor": "Y", "finding": "f", "target": "triton", "case": case}
    path = folder / f"{number:08x}"
    path.mkdir(parents=True)
    (path / "case.json").write_text(json.dumps(plain | {"id": path.name} | other))
    return path


def test_a_folder_of_reports_is_one_of_them_or_their_list(tmp_path: Path) -> None:
    folder = tmp_path / "R" / "reports"
    folder.mkdir(parents=True)
    (tmp_path / "R" / "run.json").write_text("{}")
    assert_refused(run("replay", str(tmp_path / "R")), f"no report in {folder}")
    assert_refused(run("report", str(tmp_path / "R")), f"no reports in {folder}")
    written(folder, 1)
    assert "right: GroupedGemmCase(m_sizes=(1,)" in run("replay", str(tmp_path / "R")).stdout
    written(folder, 2)
    for named in (folder, folder.parent):
        assert_refused(run("replay", str(named)), f"{folder} holds 2 reports", "00000001, 00000002")
        assert "00000002  WrongValue of Y in triton" in run("report", str(named)).stdout


def test_a_report_of_another_version_or_none_is_one_line(tmp_path: Path) -> None:
    assert_refused(run("replay", str(written(tmp_path, 1, format=99))), "report has format 99")
    (tmp_path / "empty").mkdir()
    assert_refused(run("replay", str(tmp_path / "empty")), "no report in")


def test_a_folder_that_only_seems_writable_is_refused_and_nothing_stays(tmp_path: Path) -> None:
    for words in (("fuzz", "--time", "1s", "--report-dir"), ("fuzz", "--time", "1s", "--run")):
        for folder in ("/proc/x", "/proc", "/dev/null/x", "x" * 300):
            assert_refused(run(*words, folder), f"{words[-1]} {folder}")
    assert why_not_writable(tmp_path / "a" / "b") == why_not_writable(tmp_path) == ""
    (tmp_path / "dangling").symlink_to("nowhere")
    assert "is no folder" in why_not_writable(tmp_path / "dangling" / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["dangling"]


def test_what_a_file_or_a_page_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    info = {"format": 1, "targets": ["t"], "started": 0.0}
    (tmp_path / "R").mkdir()
    (tmp_path / "R" / "run.json").write_text(json.dumps(info))
    for words in (("corpus", "collect", str(tmp_path / "R")), ("merge", str(tmp_path / "R"))):
        for into in ("/proc/x", "/dev/null/x", "x" * 300):
            assert_refused(run(*words, "--into", into), into)


def test_a_variable_that_is_a_typing_error_is_named_on_stderr() -> None:
    done = CliRunner().invoke(app, ["models"], env={"MOEFUZZ_TARGT": "x"})
    assert done.exit_code == 0 and "WARNING: unknown environment variable MOEFUZZ_TARGT; known are" in done.stderr


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("2m", 120), ("1h30m", 5400), ("1.5h", 5400), ("5", 5), ("0.5", 0.5), (" 1m30s ", 90), ("1 h 5 s", 3605)],
)
def test_durations_have_one_spelling_everywhere(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "0", "0s", "-1", "m", "1m1h", "1s2", "1e3", "inf", "nan", "9" * 400, "87601h", "1.2.3s", "1h1h", "٣s"]
)
def test_what_is_no_duration_is_refused_with_the_name_of_its_option(text: str) -> None:
    for option in ("--time", "--case-time"):
        with pytest.raises(Exit), contextlib.redirect_stderr(io.StringIO()) as said:
            seconds_of(text, option)
        assert said.getvalue().startswith(f"moefuzz: {option} must be ") and len(said.getvalue()) < 200


@pytest.mark.parametrize("hours", ["inf", "nan", "1e300", "0", "-1", "87601"])
def test_hours_have_an_end(hours: str) -> None:
    assert_refused(run("fuzz", "--hours", hours), "--hours must be above 0 and at most 87600 (ten years), got ")


@pytest.mark.parametrize("width", [1, 60, 80])
def test_what_a_table_says_is_there_however_narrow_the_terminal(width: int) -> None:
    said = CliRunner().invoke(app, ["models"], env={"COLUMNS": str(width)}).stdout
    model, *numbers = next(line for line in said.splitlines() if "OLMoE-1B-7B-0924" in line).split()
    assert (model.rstrip(":"), [number.strip(",") for number in numbers if number.strip(",").isdigit()]) == (
        "allenai/OLMoE-1B-7B-0924", ["64", "8", "2048", "1024"],
    )  # fmt: skip
    assert "…" not in said and "…" not in CliRunner().invoke(app, ["targets"], env={"COLUMNS": str(width)}).stdout


MINE = """
from moefuzz.harness import targets
raise RuntimeError("it was imported")
def helper(a, b): ...
def _inner(X): ...
def kernel(X, W, m_sizes): ...
def experts(hidden_states, *others): ...
target = targets.Target("mine", kernel)
"""


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("mine.py:kernel", "mine:kernel"), ("./mine.py:kernel", "mine:kernel"), ("sub/theirs.py:made", "sub.theirs:made"),
        ("{here}/mine.py:kernel", "mine:kernel"), ("mine.py:nonesuch", "mine.py:nonesuch"), ("none.py:kernel", "none.py:kernel"),
        ("mine.py", "mine.py"), ("mine:kernel", "mine:kernel"),
    ],
)  # fmt: skip
def test_a_target_is_named_by_its_file_too(spec: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "theirs.py").write_text("made = print")
    assert without_file(spec.format(here=tmp_path)) == name.format(here=tmp_path)


@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        ("mine", "mine:kernel or mine:experts or mine:target?"), ("mine.py", "mine:kernel or"), ("mine.py:targt", "mine:target?"),
        ("./mine:target", "mine:target?"), ("{here}/mine.py:targt", "mine:target?"), ("sub/theirs.py", "sub.theirs:block?"),
        ("sub.theirs", "sub.theirs:block?"), ("mine.target", "mine:target?"), ("packed", "packed:target?"), ("torch_lop", "torch_loop"),
        ("packed:targt", "packed:target?"), ("packed:numpy", "packed:target?"), ("packed/__init__.py:targt", "packed:target?"),
        ("mien:target", "mine:target?"), ("mien:targt", "mine:targ"), ("triton:f", "did you mean triton or"), ("nothing_like_it", ""),
        ("broken", ""), ("broken:f", ""), ("mine:target", ""), ("mine:other", ""), ("../../x:y", ""), (":", ""), ("a\x00b:c", ""),
        ("x" * 300, ""),
        ("." * 50 + ":f", ""), ("/", ""), ("/:f", ""), ("", ""),
    ],
)  # fmt: skip
def test_what_is_meant_is_said_without_an_import(spec: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "packed", raising=False)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "broken.py").write_text("def (")
    for folder, file, text in (("sub", "theirs", "def block(block): ..."), ("packed", "__init__", "def target(X, W, m_sizes): ...")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{file}.py").write_text(text)
    with pytest.raises(BadTarget) as error:
        load_target(spec.format(here=tmp_path))
    said = str(error.value)
    assert meant in said and ("did you mean" in said) == bool(meant) and "\n" not in said and len(said) < 700
