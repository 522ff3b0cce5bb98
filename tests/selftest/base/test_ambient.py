"""What is in force around a check: of one thread, put back at the end, and whole in a worker."""

from __future__ import annotations

import contextvars
import dataclasses
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moefuzz.harness.base import ambient
from moefuzz.harness.base.ambient import Ambient, CheckOptions, current, using, using_options
from moefuzz.harness.base.device import device
from moefuzz.harness.levels.cases import GroupedGemmCase
from moefuzz.harness.targets.registry import chosen, default_target, load_target
from moefuzz.harness.verdict.check import failure_of
from moefuzz.harness.verdict.isolation import isolated
from moefuzz.harness.verdict.kernel_coverage import covering
from moefuzz.harness.verdict.known_issues import KnownIssues, in_force
from moefuzz.harness.verdict.sanitizing import sanitizing

OPTIONS = [field.name for field in dataclasses.fields(CheckOptions)]
SAYS_ITS_OPTIONS = """
from moefuzz.harness.base.ambient import current


def says(X, W, m_sizes):
    raise ValueError(repr(current()))
"""


def other(name: str) -> CheckOptions:
    """The default options but for one."""
    default = getattr(CheckOptions(), name)
    assert type(default) is bool, f"say here what else than {default!r} the option {name} may be"
    return dataclasses.replace(CheckOptions(), **{name: not default})


def in_a_thread(function: Callable[[], object]) -> object:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def test_each_context_manager_changes_its_fields_while_it_lasts() -> None:
    before = current()
    with sanitizing(not before.sanitize), covering({}), in_force(KnownIssues()) as issues, chosen("torch_loop"):
        assert current() == dataclasses.replace(
            before, sanitize=not before.sanitize, coverage=True, reached={}, known_issues=issues, target="torch_loop"
        )
        with covering(None), sanitizing(before.sanitize):
            assert (current().coverage, current().reached, current().sanitize) == (False, None, before.sanitize)
        assert default_target().name == "torch_loop" and current().coverage
    assert current() is before


def test_what_overlaps_ends_in_any_order() -> None:
    first, second = using(sanitize=True), using(target="a")
    before = current()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert current() == dataclasses.replace(before, target="a")
    second.__exit__(None, None, None)
    assert current() == before


def test_an_exception_ends_it_too_and_no_other_field_is_taken() -> None:
    before = current()
    with pytest.raises(KeyError), using(target="a"):
        raise KeyError
    with pytest.raises(TypeError, match="sanitise"), using(sanitise=True):
        pass
    assert current() is before


def test_two_threads_do_not_see_what_the_other_has_put_in_force() -> None:
    both = threading.Barrier(2, timeout=20)

    def seen(*, sanitize: bool, target: str) -> list[Ambient]:
        with sanitizing(sanitize), chosen(target):
            both.wait()  # both have put theirs in force
            with covering({} if sanitize else None):
                both.wait()
                inside = current()
                both.wait()
            return [inside, current()]

    before = current()
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.submit(seen, sanitize=True, target="a"), pool.submit(seen, sanitize=False, target="b")
        assert [(each.sanitize, each.target, each.coverage) for each in one.result()] == [(True, "a", True), (True, "a", before.coverage)]
        assert [(each.sanitize, each.target, each.coverage) for each in two.result()] == [
            (False, "b", False),
            (False, "b", before.coverage),
        ]
    assert current() is before


def test_a_thread_with_nothing_of_its_own_sees_the_main_threads() -> None:
    """A test that checks cases in threads keeps the options of its run; afterwards too, when the thread has had others for a time."""
    go, seen = threading.Semaphore(0), threading.Semaphore(0)
    targets: list[str | None] = []

    def look() -> None:
        with using(target="own"):
            targets.append(current().target)
        for _ in range(2):
            targets.append(current().target)
            seen.release()
            go.acquire()

    thread = threading.Thread(target=look)
    with using(target="main"):
        thread.start()
        assert seen.acquire(timeout=20)
        with using(target="inner"):
            go.release()
            assert seen.acquire(timeout=20)
        go.release()
    thread.join()
    assert targets == ["own", "main", "inner"]


def test_a_thread_hands_on_a_copy_of_its_context() -> None:
    def hands_on() -> tuple[object, object]:
        with using(target="handed on"):
            context = contextvars.copy_context()
            return in_a_thread(lambda: context.run(lambda: current().target)), in_a_thread(lambda: current().target)

    assert in_a_thread(hands_on) == ("handed on", current().target)


def test_options_can_be_pickled_and_say_nothing_of_handles() -> None:
    with using(sanitize=True, journal=threading.Lock()):  # which cannot be
        options = current().options
    assert type(options) is CheckOptions and pickle.loads(pickle.dumps(options)) == options  # noqa: S301 - our own
    assert options.sanitize


@pytest.mark.parametrize("name", OPTIONS)
def test_options_are_put_in_force_as_a_whole(name: str) -> None:
    with using(**{each: getattr(other(each), each) for each in OPTIONS}), using_options(other(name)):
        assert current().options == other(name)


@pytest.mark.skipif(device().type == "cuda", reason="Triton's interpreter is not in force")
def test_every_option_reaches_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "says_its_options.py").write_text(SAYS_ITS_OPTIONS)
    monkeypatch.chdir(tmp_path)
    said = {}
    with isolated(30.0), using(target="nonesuch"):
        target = load_target("says_its_options:says")
        for name in OPTIONS:
            with using_options(other(name)):
                said[name] = str(failure_of(GroupedGemmCase((1,)), target))
    for name, text in said.items():
        there = Ambient(**dataclasses.asdict(other(name)))  # and no handle of this process
        assert repr(there).partition(", reached")[0] in text, f"{name} does not reach the worker"


def test_the_first_stage_holds_what_later_ones_put_in_and_imports_none_of_them() -> None:
    lines = Path(ambient.__file__).read_text().splitlines()
    assert [line for line in lines if line.lstrip().startswith(("from moefuzz", "from .", "import moefuzz"))] == []
