"""What a finding says, what the sanitizer leaves as it was, and what of Triton it rests on."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from triton.runtime import interpreter as of_triton

from moefuzz.harness import CannotSanitize, Finding, sanitize
from moefuzz.harness.execution.allocations import Allocations
from moefuzz.harness.sanitizer import _Sanitizer
from moefuzz.harness.sanitizer.launches import Watched
from moefuzz.kernels import triton_interpreter
from moefuzz.kernels.triton_interpreter import accesses

from .zoo import outside, races, right, unwritten
from .zoo.expectations import faults_of, numbers, planted

pytestmark = [
    pytest.mark.skipif(not triton_interpreter.in_force(), reason="the interpreter is not in force: there is a GPU"),
    pytest.mark.filterwarnings("ignore:tl.make_block_ptr is deprecated"),  # but kernels have it
]
CPU = torch.device("cpu")


def the_finding(launch: Any, **options: Any) -> Finding:
    with sanitize(**options) as findings:
        launch()
    (finding,) = findings
    return finding


def test_a_load_outside_names_program_tensor_and_distance() -> None:
    found = the_finding(lambda: outside.load_behind[(2,)](numbers(13), numbers(13), 13))
    assert (found.kernel, found.program, found.argument, found.where, found.count) == (
        "load_behind",
        (1, 0, 0),
        "x_ptr",
        "1 element behind x_ptr",
        3,
    )
    assert found.source == "x = tl.load(x_ptr + r)  # OutOfBounds"
    assert (
        str(found).splitlines()[0]
        == f"OutOfBounds in load_behind, line {found.line}, program 1: load of 1 element behind x_ptr (3 elements in all)"
    )


WHERE = {
    "load_before": "1 element before x_ptr",
    "store_behind": "1 element behind y_ptr",
    "load_stride_gap": "a stride gap of x_ptr, 7 elements from its start",
    "load_of_empty": "1 element behind x_ptr",
    "load_through_index": "1 element behind x_ptr",
    "atomic_cas_behind": "1 element behind lock_ptr",
}


@pytest.mark.parametrize("name", WHERE)
def test_a_place_outside_in_words(name: str) -> None:
    assert the_finding(outside.LAUNCHES[name]).where == WHERE[name]


def test_a_race_names_both_programs_and_both_lines() -> None:
    found = the_finding(lambda: races.read_from_before[(3,)](torch.zeros(12)))
    assert (found.program, found.other_program, found.argument, found.element, found.count) == ((1, 0, 0), (0, 0, 0), "y_ptr", (0,), 8)
    assert found.other_line == found.line + 1 and found.other_what == "store" and found.changes_result
    assert "against the store of program 0, line" in str(found)


def test_an_element_has_an_index_for_each_dimension() -> None:
    found = the_finding(lambda: unwritten.last_row_left_out[(1,)](unwritten._empty(3, 5), 3, 5))
    assert (found.kind, found.element, found.count) == ("NotWritten", (2, 0), 5)
    unwritten.HELD.clear()


def test_a_dead_lane_names_the_load_and_what_it_reaches() -> None:
    found = the_finding(lambda: unwritten.one_of_two_loads[(1,)](numbers(5), numbers(5), torch.empty(8), 5))
    assert found.argument == "z_ptr" and found.where == "z_ptr reaches y_ptr[5]"


def test_a_workspace_that_nobody_holds_need_not_be_written() -> None:
    with sanitize() as findings:
        unwritten.tail_left_out[(1,)](torch.empty(5), 5)
    assert findings == []
    with sanitize() as findings:
        held = torch.empty(5)
        unwritten.tail_left_out[(1,)](held, 5)
        view = torch.empty(2, 5)[:]
        unwritten.tail_left_out[(1,)](view, 5)
    assert [(finding.kind, finding.element, finding.count) for finding in findings] == [
        ("NotWritten", (4,), 7)
    ] and held.numel() < view.numel()


def test_what_is_not_written_can_be_asked_for_while_it_is_held() -> None:
    with sanitize() as findings:
        held = torch.empty(5)
        unwritten.tail_left_out[(1,)](held, 5)
        findings.check_written()
        assert [finding.kind for finding in findings] == ["NotWritten"]
        del held
    assert [finding.count for finding in findings] == [1]


def test_what_torch_writes_later_is_written() -> None:
    with sanitize() as findings:
        held = torch.empty(5)
        unwritten.tail_left_out[(1,)](held, 5)
        held[4:].copy_(numbers(1))
    assert findings == []


def test_extra_tensors_may_be_reached_through_pointers_in_memory() -> None:
    hidden = numbers(4)
    table, out = torch.tensor([hidden.data_ptr()]), torch.empty(4)

    @triton.jit
    def through_table(table_ptr, out_ptr):
        r = tl.arange(0, 4)
        tl.store(out_ptr + r, tl.load(tl.load(table_ptr).to(tl.pointer_type(tl.float32)) + r))

    with sanitize(extra=[hidden]) as findings:
        through_table[(1,)](table, out)
    assert findings == [] and torch.equal(out, hidden)
    assert the_finding(lambda: through_table[(1,)](table, out)).kind == "OutOfBounds"


def test_results_are_those_of_one_run_in_order() -> None:
    y, out = torch.zeros(10), torch.zeros(8)
    with sanitize() as findings:
        races.tiles_overlap[(3,)](y, 3)
        unwritten.dead_lane_stored[(1,)](numbers(5), out, 5)
    assert len(findings) == 2
    assert y.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2] and out[:5].tolist() == [0, 1, 2, 3, 4] and out[5:].isnan().all()


def test_a_kernel_that_raises_keeps_what_was_found_before() -> None:
    @triton.jit
    def raises(x_ptr):
        tl.store(x_ptr + 1, 0.0)
        tl.static_assert(False)

    with sanitize() as findings, pytest.raises(Exception, match=r"assert|Assert"):
        raises[(1,)](numbers(1))
    assert [finding.kind for finding in findings] == ["OutOfBounds"]


def test_a_kernel_that_is_launched_again_makes_no_second_finding() -> None:
    with sanitize() as findings:
        for _ in range(3):
            outside.LAUNCHES["load_behind"]()
    assert [finding.count for finding in findings] == [9]


def test_an_error_before_the_first_program_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(of_triton.interpreter_builder, "grid_dim", raising=False)
    with sanitize(), pytest.raises(AssertionError, match="at most 3 dimensions"):
        right.add[(1, 1, 1, 1)](numbers(1), numbers(1), torch.empty(1), 1)


def test_it_works_around_the_memory_that_tells_and_inside_it() -> None:
    with sanitize() as findings, Allocations(CPU, "finite"):
        unwritten.read_workspace[(1,)](torch.empty(8), numbers(8))
        right.LAUNCHES["slots of -1"]()
    assert [finding.kind for finding in findings] == ["UninitialisedRead"]
    with Allocations(CPU), sanitize() as findings:
        unwritten.read_workspace[(1,)](torch.empty(8), numbers(8))
    assert [finding.kind for finding in findings] == ["UninitialisedRead"]
    assert accesses.watchers == []


def test_it_works_in_inference_mode() -> None:
    with sanitize() as findings, torch.inference_mode():
        unwritten.read_workspace[(1,)](torch.empty(8), numbers(8))
        right.LAUNCHES["slots of -1"]()
    assert [finding.kind for finding in findings] == ["UninitialisedRead"]


@pytest.mark.parametrize("extra", [[1], [torch.zeros(1), None], {"x": torch.zeros(1)}], ids=str)
def test_what_is_no_tensor_is_refused(extra: Any) -> None:
    with pytest.raises(TypeError, match=r"extra must be tensors, got a (int|NoneType|str)"), sanitize(extra=extra):
        pass


def test_without_the_interpreter_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_interpreter, "in_force", lambda: False)
    with pytest.raises(CannotSanitize, match="set TRITON_INTERPRET=1"), sanitize():
        pass


CHECKS = (
    (Watched, "_outside", outside),
    (Watched, "_race", races),
    (Watched, "_check_written", unwritten),
    (Watched, "_check_undefined", unwritten),
    (Watched, "_check_written_once", unwritten),
    (_Sanitizer, "check_written", unwritten),
)


def unnoticed(zoo: Any) -> set[str]:
    """The kernels of a zoo of which not all is found."""
    missed = set()
    for name, launch in zoo.LAUNCHES.items():
        expected = planted(zoo.__file__, name.split()[0])
        with sanitize(written_twice=any(kind == "WrittenTwice" for kind, *_ in expected)) as findings:
            launch()
        unwritten.HELD.clear()
        if faults_of(findings) != expected:
            missed.add(name)
    return missed


def test_each_wrong_kernel_passes_unnoticed_without_one_of_the_checks() -> None:
    missed: list[str] = []
    for owner, check, zoo in CHECKS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, check, lambda *_: None)
            missed += unnoticed(zoo)
    assert sorted(missed) == sorted([*outside.LAUNCHES, *races.LAUNCHES, *unwritten.LAUNCHES])


HAS = [name for name in accesses.WRAPPED_SINCE_3_9 if hasattr(of_triton.InterpreterBuilder, name.split(".")[1])]


@pytest.mark.parametrize("name", [*accesses.WRAPPED, *HAS])
def test_triton_still_has_what_is_wrapped(name: str) -> None:
    owner, method = name.split(".")
    parameters = (accesses.WRAPPED | accesses.WRAPPED_SINCE_3_9)[name]
    wrapped = getattr(getattr(of_triton, owner), method)
    found = tuple(inspect.signature(wrapped).parameters)  # of Triton's own: functools.wraps leads there
    assert found[: len(parameters)] == parameters, f"Triton {triton.__version__} changed {name}: see kernels/triton_interpreter/accesses.py"


def test_a_triton_that_lacks_a_name_cannot_be_watched() -> None:
    class Without:
        InterpreterBuilder = GridExecutor = object

    with pytest.raises(ImportError, match=r"has no InterpreterBuilder\.set_grid_dim"):
        accesses.install(Without)
