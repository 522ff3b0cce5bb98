"""Where a failure was raised is kept with it: another process prints what guarded the target then, not what guards its own memory."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from moefuzz.harness.campaign.found import Found
from moefuzz.harness.campaign.run_folder import RunFolder
from moefuzz.harness.cli import commands
from moefuzz.harness.failures import WRONG_VALUE, Failure, not_refused, unreproducible
from moefuzz.harness.failures.facts import Origin
from moefuzz.harness.levels.cases import Case, ExpertsCase, GroupedGemmCase, MoeBlockCase
from moefuzz.harness.report.write import write
from moefuzz.harness.targets import Target
from moefuzz.harness.targets.registry import is_found_by_name, load_target, remembered_target
from moefuzz.harness.verdict.check import failure_of
from moefuzz.harness.verdict.origins import guards_in_words
from moefuzz.kernels import triton_interpreter

SMALL, FORGETS = GroupedGemmCase((1, 1)), "moefuzz.harness.planted.faults:forgets_the_row_mask"
ELSEWHERE = Origin("guards of another machine", "NVIDIA H300", "torch 9.9", has_name=False)


def of_elsewhere() -> Failure:
    failure = WRONG_VALUE["Y"](SMALL, "t", "Y is wrong")
    failure.origin = ELSEWHERE
    return failure


def test_what_guarded_a_target_is_noted_where_it_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = failure_of(SMALL, load_target(FORGETS))
    assert failure is not None
    before = str(failure)
    monkeypatch.setattr(triton_interpreter, "in_force", lambda: not before.count("reads watched"))
    monkeypatch.setattr("moefuzz.harness.targets.registry.named_targets", dict)
    assert str(copy.copy(failure)) == before and f"    memory    {guards_in_words(SMALL)}" not in before


def test_what_was_noted_goes_along_into_reports_and_run_folders(tmp_path: Path) -> None:
    failure = of_elsewhere()
    for one in (
        copy.copy(failure),
        not_refused(failure, "l"),
        unreproducible(failure, "l"),
        Found.from_json(offered(failure, tmp_path)).failure,
    ):
        assert one.origin == ELSEWHERE and "    memory    guards of another machine\n    replay    check(" in str(one)
    folder = write(failure, Target("t", len), tmp_path / "reports", unrun=True)
    assert "\nNVIDIA H300; torch 9.9\n" in (folder / "report.md").read_text()
    said = json.loads((folder / "case.json").read_text())
    assert [said[name] for name in ("guards", "device", "versions", "has_name")] == [*vars(ELSEWHERE).values()]


def offered(failure: Failure, folder: Path) -> str:
    assert RunFolder(folder).offer(failure, "t", "any") is not None
    return next((folder / "found").glob("*.json")).read_text()


def test_of_what_was_not_noted_nothing_is_said() -> None:
    text = str(WRONG_VALUE["Y"](SMALL, "t", "Y is wrong"))
    assert "memory" not in text and "    replay    moefuzz replay --target t " in text


def test_a_target_without_a_name_has_no_replay_line() -> None:
    def zeros(X: torch.Tensor, W: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return X.new_zeros(X.shape[0], W.shape[1])

    failure = failure_of(SMALL, Target("nameless", zeros))
    assert failure is not None and f"    replay    check({SMALL!r}, TARGET): 'nameless' is no name" in str(failure)


@pytest.mark.parametrize(
    ("case", "inputs"),
    [
        (SMALL, "inputs guarded"),
        (ExpertsCase((1,)), "inputs guarded"),
        (GroupedGemmCase((1,), x_layout="far", dy_layout="far rows"), "inputs but X and dY guarded"),
        (MoeBlockCase((1,)), "hidden states and their gradient compared afterwards"),
    ],
)
def test_only_inputs_that_lie_in_the_arena_are_called_fenced(case: Case, inputs: str) -> None:
    assert guards_in_words(case).startswith(f"{inputs}, torch's allocations")


def test_a_target_that_is_declared_otherwise_than_its_name_finds_it_is_told_and_kept() -> None:
    """As in a test suite that narrows what ``pkg.mod:attr`` finds: the smallest case stays within what was declared."""
    spec = "moefuzz.harness.planted.faults:forgets_the_row_mask"
    narrow = dataclasses.replace(load_target(spec), k_multiple=8)
    failure = failure_of(GroupedGemmCase((1, 1), K=8), narrow)
    assert failure is not None and failure.origin is not None and not failure.origin.has_name
    assert "finds this target as it is declared" in str(failure)
    assert remembered_target(spec) is narrow and not is_found_by_name(narrow) and is_found_by_name(load_target(spec))


@pytest.mark.parametrize("command", ["describe", "replay"])
def test_a_module_that_ends_its_process_is_told_in_one_line(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ends_at_import.py").write_text("import os\nos._exit(0)\n")
    monkeypatch.chdir(tmp_path)
    words = ["describe", "ends_at_import:f"] if command == "describe" else ["replay", "--no-isolate", "-t", "ends_at_import:f", repr(SMALL)]
    done = CliRunner().invoke(commands.app, words)
    assert done.exit_code == 2 and done.stderr.endswith("importing ends_at_import failed with SystemExit: os._exit(0)\n")
    assert done.stderr.count("\n") == 1
