"""Reports: a folder that can be pasted, and a case that is read and never executed."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from typer.testing import CliRunner

from moefuzz.harness.campaign.campaign import fuzz
from moefuzz.harness.campaign.reducing import Reduced
from moefuzz.harness.cli import commands
from moefuzz.harness.failures import Failure
from moefuzz.harness.levels.cases import Case, GroupedGemmCase
from moefuzz.harness.reduction.explain import explain, in_words
from moefuzz.harness.report.folder import BadReport, id_of, read
from moefuzz.harness.report.picture import draw
from moefuzz.harness.report.tensor_errors import examine
from moefuzz.harness.report.write import write
from moefuzz.harness.targets.registry import load_target
from moefuzz.harness.verdict.check import failure_of
from moefuzz.harness.verdict.isolation import isolated
from moefuzz.kernels.kernel_config import KernelConfig

FAULTS = "moefuzz.harness.planted.faults:"
LEAVES, TWO = "moefuzz.tests.selftest.support.wrong_kernels:leaves_an_expert_unwritten", GroupedGemmCase((0, 1))
FORGETS, SMALL = FAULTS + "forgets_the_row_mask", GroupedGemmCase((1, 1))


def failing(spec: str, case: Case) -> Failure:
    failure = failure_of(case, load_target(spec))
    assert failure is not None
    return failure


def test_a_report_is_found_by_its_id_listed_and_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write(failing(LEAVES, TWO), load_target(LEAVES), Path("moefuzz-reports"))
    report = read(folder)
    assert re.search(r"^Conditions of the failure, guessed from \d+ similar cases: ", (folder / "report.md").read_text(), re.MULTILINE)
    assert (report.case, report.target, report.title) == (TWO, LEAVES, "NotWritten of Y")
    for named in (folder.name, str(folder / "case.json")):
        done = CliRunner().invoke(commands.app, ["replay", named])
        assert done.exit_code == 1 and "NotWritten: Y was not written" in done.stdout
    assert CliRunner().invoke(commands.app, ["replay", folder.name, "-t", "triton"]).exit_code == 0, "fixed"
    listed = CliRunner().invoke(commands.app, ["report"])
    assert listed.exit_code == 0 and folder.name in listed.stdout and "NotWritten of Y" in listed.stdout


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
    done = CliRunner().invoke(commands.app, ["replay", str(file)])
    assert done.exit_code == 2 and done.stderr.startswith("moefuzz: ") and done.stderr.count("\n") == 1
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "case.json").write_text(text, encoding="latin-1")
    assert "skipped: " in CliRunner().invoke(commands.app, ["report", str(tmp_path)]).stdout


def test_a_folder_that_cannot_be_written_to_is_one_line_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(commands.app, ["fuzz", "--time", "1s", "--report-dir", str(tmp_path / "file" / "r")])
    assert done.exit_code == 2 and done.stderr.endswith("file is no folder\n") and done.stderr.count("\n") == 1


def test_a_folder_that_cannot_be_written_costs_the_report_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    steps = fuzz([load_target(FORGETS)], 5.0, {"grouped_gemm": {"one": lambda _: st.just(SMALL)}}, reports=tmp_path / "file")
    reduced = next(step for step in steps if isinstance(step, Reduced))
    assert reduced.failure is not None and "could not be written" in reduced.where(tmp_path)


def test_fields_that_do_not_matter_are_named_and_no_part_of_the_id() -> None:
    target = load_target(LEAVES)
    failures = [failing(LEAVES, case) for case in (TWO, dataclasses.replace(TWO, N=3, dtype="bfloat16"), GroupedGemmCase((1, 1)))]
    without = [explain(failure, lambda case: failure_of(case, target), target).irrelevant for failure in failures]
    assert "any dtype, any data, any seed" in in_words(without[0], TWO) and without[0] == without[1]
    first, same, other = (id_of(failure, names) for failure, names in zip(failures, without, strict=True))
    assert first == same != other
    tiled = dataclasses.replace(TWO, N=8, K=8, config=KernelConfig(block_m=32, tma=True))
    ids = [id_of(failing(LEAVES, case)) for case in (TWO, tiled)]
    assert ids == ["cbc5cd2f", "4c0c2589"], "a flag of a config that a later version adds changes no id"


def test_what_matters_is_not_called_irrelevant() -> None:
    spec = FAULTS + "accumulates_in_the_output_dtype"
    failure = failing(spec, GroupedGemmCase((1,), K=17, dtype="bfloat16", data="normal"))
    said = explain(failure, lambda case: failure_of(case, load_target(spec)), load_target(spec))
    assert "order" in said.irrelevant and not {"dtype", "data"} & set(said.irrelevant)
    assert {"K > 16", "dtype is not float32"} <= said.region.needs and "x_layout is contiguous" not in said.region.needs
    assert explain(failure, lambda _: None, load_target(spec)).irrelevant == ()
    assert explain(failure, lambda _: failure, load_target(spec), seconds=0.0).irrelevant == ()


def test_the_table_names_each_tensor_and_the_picture_shows_where(tmp_path: Path) -> None:
    spec, case = FAULTS + "drops_the_last_k_tile", GroupedGemmCase((18, 0, 3), N=20, K=17, data="normal", grads="")
    seen = examine(failing(spec, case), load_target(spec))
    assert seen is not None and [(t.tensor, t.wrong, t.total) for t in seen.tensors] == [("Y", 420, 420)]
    picture = seen.picture
    assert picture is not None and picture.experts == (18, 18) and picture.tiles == ((16,), (16,)) and (picture.share > 1).all()
    draw(picture, tmp_path / "a.png")
    draw(dataclasses.replace(picture, share=np.tile(picture.share, (100, 1))), tmp_path / "b.png")
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("a.png", "b.png"))


@pytest.mark.heavy
def test_a_report_of_a_failure_that_a_worker_found_is_examined_there(tmp_path: Path) -> None:
    with isolated(30.0):
        folder = write(failing(LEAVES, TWO), load_target(LEAVES), tmp_path)
    assert "| Y | forward | 1 of 1 | inf | bits |" in (folder / "report.md").read_text() and (folder / "mismatch.png").exists()
