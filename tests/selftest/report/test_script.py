"""Scripts: each shows its failure without moefuzz, and exits with 0 once the kernel is right."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from moefuzz.harness.base.device import device
from moefuzz.harness.failures import Failure
from moefuzz.harness.levels.cases import Case, ExpertsCase, GroupedGemmCase, MoeBlockCase
from moefuzz.harness.levels.level import NoScript
from moefuzz.harness.report import script as reproduce
from moefuzz.harness.report.script import IN_FILE, script, shows
from moefuzz.harness.targets.registry import declared_target, load_target
from moefuzz.harness.verdict.check import failure_of
from moefuzz.tests.selftest.support import wrong_kernels

FAULTS = "moefuzz.harness.planted.faults:"
Gemm = GroupedGemmCase


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with their kernels as a module ``theirs``, which is the working directory."""
    shutil.copy(wrong_kernels.__file__, tmp_path / "theirs.py")
    monkeypatch.chdir(tmp_path)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    sys.modules.pop("theirs", None)
    load_target.cache_clear()
    declared_target.cache_clear()


def failing(spec: str, case: Case) -> Failure:
    failure = failure_of(case, load_target(spec))
    assert failure is not None
    return failure


def ran(path: Path, cwd: Path = Path("/")) -> tuple[int, str]:
    """Exit code and last line of a script, run in another folder."""
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False, cwd=cwd)  # noqa: S603
    return done.returncode, (done.stdout.splitlines() or [done.stderr])[-1]


@pytest.mark.parametrize(
    ("fault", "case"),
    [
        pytest.param("ignores_permute_y", Gemm((2,), permute="y", order="reversed", x_layout="padded", w_layout="transposed", K=3, N=2),
                     marks=pytest.mark.heavy),
        pytest.param("weights_in_expert_order", Gemm((3,), order="reversed", fuse_mul_post=True, grads=""), marks=pytest.mark.heavy),
        ("accumulates_in_the_output_dtype", Gemm((1,), K=17, dtype="bfloat16", data="normal")),
        pytest.param("drops_the_last_k_tile", Gemm((40, 0, 33), N=70, K=40, data="normal"), marks=pytest.mark.heavy),
        pytest.param("drops_the_last_k_tile", Gemm((3,), N=2, K=17, w_layout="far", x_layout="far columns"), marks=pytest.mark.heavy),
        pytest.param("leaves_tail_rows_unwritten", Gemm((1,), tail_rows=1), marks=pytest.mark.heavy),
    ],
)  # fmt: skip
def test_a_script_shows_the_failure_and_exits_with_0_once_the_kernel_is_right(fault: str, case: Case, tmp_path: Path) -> None:
    failure = failing(FAULTS + fault, case)
    made = script(failure, load_target(FAULTS + fault))
    path = made.write(tmp_path)
    assert shows(path, failure) == "" and bool(made.numbers) == (tmp_path / IN_FILE).exists()
    wrong = f"from moefuzz.harness.planted.faults import {fault} as target\n\ntarget = target.function"
    assert wrong in made.text
    path.write_text(made.text.replace(wrong, "from moefuzz.kernels.grouped_gemm import grouped_gemm as target"))
    assert ran(path) == (0, "right")


@pytest.mark.parametrize(
    ("kernel", "case", "kind"),
    [
        ("leaves_an_expert_unwritten", Gemm((1, 2), N=2), "NotWritten_Y"),
        pytest.param("stores_behind_the_output", Gemm((2,), N=2, K=3), "WroteOutside",
                     marks=pytest.mark.skipif(device().type == "cuda", reason="it stores by address, on a CPU")),
        pytest.param("changes_an_input", Gemm((2,), N=2), "InputModified_X", marks=pytest.mark.heavy),
        pytest.param("loses_a_gradient", Gemm((2,)), "GradMissing_dX", marks=pytest.mark.heavy),
        pytest.param("gives_another_dtype", Gemm((2,)), "WrongShape_Y", marks=pytest.mark.heavy),
        pytest.param("counts_its_calls", Gemm((2,), relation="repeated"), "NonDeterministic_dW", marks=pytest.mark.heavy),
        pytest.param("raises_for_two_experts", Gemm((0, 1)), "Raised_ValueError", marks=pytest.mark.heavy),
        pytest.param("raises_for_two_experts", Gemm((2,), relation="expert split"), "Raised_ValueError", marks=pytest.mark.heavy),
        pytest.param("raises_for_two_experts", Gemm((0, 1), relation="gradients accumulated"), "Raised_ValueError",
                     marks=pytest.mark.heavy),
        ("adds_nothing_times_all_weights", Gemm((1, 0), N=2, relation="foreign weights NaN"), "BrokenRelation_Y"),
        pytest.param("forgets_the_third_expert", Gemm((2, 1), relation="expert split"), "WrongValue_Y", marks=pytest.mark.heavy),
        pytest.param("mixes_foreign_experts", ExpertsCase((1, 0), relation="foreign weights NaN"), "BrokenRelation_output",
                     marks=pytest.mark.heavy),
        ("doubles_expert_1", ExpertsCase((1, 2), hidden_size=4, dtype="bfloat16", x_layout="padded"), "WrongValue_output"),
        pytest.param("doubles_the_output", MoeBlockCase((1, 2, 3), topk=2, norm_topk_prob=False, act="relu"), "WrongValue_output",
                     marks=pytest.mark.heavy),
        pytest.param("doubles_the_gradients", MoeBlockCase((1, 2)), "WrongValue_X_grad", marks=pytest.mark.heavy),
    ],
)  # fmt: skip
def test_a_script_for_a_kernel_of_others_needs_nothing_of_moefuzz(kernel: str, case: Case, kind: str, theirs: Path) -> None:
    failure = failing(f"theirs:{kernel}", case)
    assert type(failure).__name__ == kind
    made = script(failure, load_target(f"theirs:{kernel}"))
    assert "import moefuzz" not in made.text and "from moefuzz" not in made.text and str(theirs) not in made.text
    path = made.write(theirs)
    code, said = ran(path)
    assert code == 1 and (said == "wrong" or said.startswith("raised ValueError: two experts"))
    if type(case) is Gemm:
        path.write_text(made.text.replace(f"import {kernel} as target", "import loop as target"))
        assert ran(path)[0] == 0


@pytest.mark.heavy
def test_a_script_of_an_adapter_holds_what_the_adapter_needs(tmp_path: Path) -> None:
    case = MoeBlockCase(loads=(2,), hidden_size=2, moe_intermediate_size=1, dtype="float16")
    failure = failing("transformers_batched_mm", case)
    made = script(failure, load_target("transformers_batched_mm"))
    assert "from moefuzz" not in made.text and "return block_with(block, 'batched_mm')" in made.text
    assert shows(made.write(tmp_path), failure) == ""


ADAPTER = """from moefuzz.harness.targets import Target
from theirs import leaves_an_expert_unwritten

def call(X, W, m_sizes):
    return leaves_an_expert_unwritten(X, W, m_sizes)

target = Target("adapter", call)
"""


def test_a_script_of_an_adapter_finds_the_kernel_beside_it(theirs: Path) -> None:
    (theirs / "adapter.py").write_text(ADAPTER)
    failure = failing("adapter:target", Gemm((1, 1)))
    folder = theirs / "report"
    folder.mkdir()
    path = script(failure, load_target("adapter:target")).write(folder)
    assert "moefuzz.harness" not in path.read_text() and str(theirs) not in path.read_text()
    assert ran(path) == (1, "wrong") and shows(path, failure) == ""


def test_a_script_far_from_the_target_says_where_it_runs(theirs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    package = theirs / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "adapter.py").write_text("import torch\nimport os\nfrom pathlib import Path\nHERE = Path(os.sep), torch.pi\n" + ADAPTER)
    failure = failing("package.adapter:target", Gemm((1, 1)))
    made = script(failure, load_target("package.adapter:target"))
    path = made.write(tmp_path_factory.mktemp("reports"))
    assert "# Run this in the folder that holds package/adapter.py, or put" in made.text and str(theirs) not in made.text
    imports = [line for line in made.text.splitlines() if line.startswith(("import ", "from "))]
    assert len(imports) == len(set(imports))
    assert ran(path)[0] == 1 and ran(path)[1] != "wrong", "not from elsewhere"
    assert ran(path, theirs) == (1, "wrong") and shows(path, failure, made.home) == ""


@pytest.mark.usefixtures("theirs")
@pytest.mark.parametrize(
    ("kernel", "case", "kind"),
    [
        ("raises_in_a_second_backward", Gemm((2,), relation="gradients accumulated"), "Raised_RuntimeError"),
        ("changes_an_input_in_a_second_backward", Gemm((2,), N=2, relation="gradients accumulated"), "InputModified_X"),
        ("is_wrong_from_its_third_call_on", Gemm((2,), relation="other shapes between"), "NonDeterministic_dW"),
    ],
)
def test_a_call_that_no_script_can_make_has_none(kernel: str, case: Case, kind: str) -> None:
    failure = failing(f"theirs:{kernel}", case)
    assert type(failure).__name__ == kind
    with pytest.raises(NoScript, match=f"{case.relation!r} .*moefuzz makes in its own way"):
        script(failure, load_target(f"theirs:{kernel}"))


@pytest.mark.usefixtures("theirs")
def test_for_a_page_that_runs_nothing_no_second_call_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = failing("theirs:raises_for_two_experts", Gemm((2,), relation="expert split"))
    monkeypatch.setattr(reproduce, "at_fault", None)
    with pytest.raises(NoScript, match="was not run for this page"):
        script(failure, load_target("theirs:raises_for_two_experts"), unrun=True)


def test_a_script_that_does_not_show_the_failure_is_known_as_such(tmp_path: Path) -> None:
    failure, path = failing(FAULTS + "forgets_the_row_mask", Gemm((1, 1))), tmp_path / "reproduce.py"
    for text, says in (
        ("print('right')", "it ended with 0 and said: right"),
        ("import nothing_like_it", "it ended with 1 and said: Module"),
    ):
        path.write_text(text)
        assert shows(path, failure).startswith(says)


def test_what_has_no_script_says_why() -> None:
    failure = failing(FAULTS + "reads_slots_behind_the_last", Gemm((1,), permute="x"))
    with pytest.raises(NoScript, match="loads are seen by moefuzz under Triton's interpreter alone"):
        script(failure, load_target(FAULTS + "reads_slots_behind_the_last"))
    related = Failure(Gemm((1,), relation="repeated"), "triton", "wrong")
    with pytest.raises(NoScript, match="Failure shows in moefuzz alone"):
        script(related, load_target("triton"))
