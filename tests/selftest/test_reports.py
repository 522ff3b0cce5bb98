"""Reports: a folder that can be pasted, a script that shows the failure without moefuzz, a case that is read and never executed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from moefuzz.harness import cli
from moefuzz.harness.cases import Case, GroupedGemmCase
from moefuzz.harness.failures import Failure
from moefuzz.harness.reports import BadReport, read, write
from moefuzz.harness.reproduce import script, shows
from moefuzz.harness.target_names import declared_target, load_target
from moefuzz.harness.verdict import failure_of

FAULTS = "moefuzz.harness.faults:"
FORGETS, SMALL = FAULTS + "forgets_the_row_mask", GroupedGemmCase((1, 1))


def failing(spec: str, case: Case) -> Failure:
    failure = failure_of(case, load_target(spec))
    assert failure is not None
    return failure


def ran(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")  # noqa: S603


@pytest.mark.parametrize(
    ("fault", "case"),
    [
        ("ignores_permute_y", GroupedGemmCase((2,), permute="y", order="reversed", x_layout="padded", w_layout="transposed", K=3, N=2)),
        ("weights_in_expert_order", GroupedGemmCase((3,), order="reversed", fuse_mul_post=True, grads="", tail_rows=0)),
        ("accumulates_in_the_output_dtype", GroupedGemmCase((1,), K=17, dtype="bfloat16", data="normal")),
    ],
)
def test_the_script_shows_the_failure_and_exits_with_0_once_the_kernel_is_right(fault: str, case: Case, tmp_path: Path) -> None:
    failure = failing(FAULTS + fault, case)
    text = script(failure, load_target(FAULTS + fault))
    assert text is not None
    (tmp_path / "reproduce.py").write_text(text)
    assert shows(tmp_path / "reproduce.py", failure) == ""
    wrong = f"from moefuzz.harness.faults import {fault} as target\n\ntarget = target.function"
    assert wrong in text
    mended = tmp_path / "mended.py"
    mended.write_text(text.replace(wrong, "from moefuzz.kernels.grouped_gemm import grouped_gemm as target"))
    done = ran(mended)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "right"), done.stderr


THEIRS = """
import torch
from moefuzz.harness.targets import Target


def loop(X, W, m_sizes):
    if len(W) == 2:
        raise ValueError("two experts")
    return X @ W[0].T * (1.5 if len(X) == 3 else 1)


target = Target("theirs", loop, strides=False)
"""


@pytest.mark.parametrize(
    ("case", "says"), [(GroupedGemmCase((3,), K=2), "wrong"), (GroupedGemmCase((0, 0)), "raised ValueError: two experts")]
)
def test_a_script_for_a_kernel_of_others_needs_nothing_of_moefuzz(
    case: Case, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs.py").write_text(THEIRS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    load_target.cache_clear()
    declared_target.cache_clear()
    folder = write(failing("theirs:target", case), load_target("theirs:target"), tmp_path / "reports")
    text = (folder / "reproduce.py").read_text()
    assert "import moefuzz" not in text and "from moefuzz" not in text
    done = ran(folder / "reproduce.py")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, says)
    page = (folder / "report.md").read_text()
    assert repr(case) in page and "it showed the failure." in page
    assert (folder / "log.txt").exists() == says.startswith("raised")


def test_a_script_that_does_not_show_the_failure_is_known_as_such(tmp_path: Path) -> None:
    failure, path = failing(FORGETS, SMALL), tmp_path / "reproduce.py"
    for text, says in (
        ("print('right')", "it ended with 0 and said: right"),
        ("import nothing_like_it", "it ended with 1 and said: Module"),
    ):
        path.write_text(text)
        assert shows(path, failure).startswith(says)


def test_a_report_is_found_by_its_id_listed_and_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write(failing(FORGETS, SMALL), load_target(FORGETS), Path("moefuzz-reports"))
    assert write(failing(FORGETS, SMALL), load_target(FORGETS), Path("moefuzz-reports")) == folder
    report = read(folder)
    assert (report.case, report.target, report.kind, report.tensor) == (SMALL, FORGETS, "WrongValue", "dW")
    for named in (folder.name, str(folder / "case.json")):
        done = CliRunner().invoke(cli.app, ["replay", named])
        assert done.exit_code == 1 and "WrongValue: dW is wrong" in done.stdout
    assert CliRunner().invoke(cli.app, ["replay", folder.name, "-t", "triton"]).exit_code == 0, "fixed"
    listed = CliRunner().invoke(cli.app, ["report"])
    assert listed.exit_code == 0 and folder.name in listed.stdout and "WrongValue of dW" in listed.stdout


GOOD = {"format": 1, "id": "0", "target": "t", "kind": "Crash", "tensor": None, "finding": "f", "case": json.loads(SMALL.to_json())}


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "[" * 100_000, '"text"', "\x00\xff", json.dumps(GOOD)[:-9], json.dumps(GOOD | {"format": 99}),
        json.dumps(GOOD | {"target": 7}), json.dumps(GOOD | {"case": "__import__('os').abort()"}), json.dumps(GOOD | {"case": None}),
        json.dumps(GOOD | {"case": {"format": 1, "kind": "os.abort"}}), json.dumps({"format": 1}),
    ],
)  # fmt: skip
def test_what_is_no_report_is_one_line_and_exit_code_2(text: str, tmp_path: Path) -> None:
    file = tmp_path / "case.json"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(BadReport):
        read(file)
    done = CliRunner().invoke(cli.app, ["replay", str(file)])
    assert done.exit_code == 2 and done.stderr.startswith("moefuzz: ") and done.stderr.count("\n") == 1
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "case.json").write_text(text, encoding="latin-1")
    assert "skipped: " in CliRunner().invoke(cli.app, ["report", str(tmp_path)]).stdout


def test_a_folder_that_cannot_be_written_costs_the_report_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = cli._reported(failing(FORGETS, SMALL), load_target(FORGETS), tmp_path / "file")
    assert "could not be written" in said
