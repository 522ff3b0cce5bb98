"""Import paths of version 0.1, which stand in reports, entry points and replay lines."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from moefuzz.harness.aliases import MOVED, current
from moefuzz.harness.targets.registry import declared_target

ADAPTER = "moefuzz.harness.adapters.torch_loop"


@pytest.mark.parametrize("old", MOVED)
def test_an_old_path_gives_the_module_of_the_new_one(old: str) -> None:
    module, new = importlib.import_module(old), importlib.import_module(MOVED[old])
    assert module is new
    assert module.__spec__ is not None and module.__spec__.name == MOVED[old]


def test_what_lay_below_an_old_package_lies_below_the_new_one() -> None:
    assert importlib.import_module(ADAPTER) is importlib.import_module(current(ADAPTER))


def test_an_old_path_works_where_nothing_else_was_imported() -> None:
    code = f"import {ADAPTER}, sys; print([name for name in sys.modules if name.endswith('adapters.torch_loop')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == f"['{current(ADAPTER)}', '{ADAPTER}']"


@pytest.mark.parametrize(
    "old", ["moefuzz.harness.blocks:torch_block", "moefuzz.harness.faults:forgets_the_row_mask", f"{ADAPTER}:torch_loop"]
)
def test_a_target_of_an_old_path_is_declared_as_today(old: str) -> None:
    module, _, name = old.partition(":")
    new = declared_target(f"{current(module)}:{name}")
    assert declared_target(old).function is new.function
    assert (declared_target(old).limits(), declared_target(old).float32_reductions) == (new.limits(), new.float32_reductions)


def test_a_path_of_somebody_else_is_its_own() -> None:
    assert current("moefuzz.harness.faultsome") == "moefuzz.harness.faultsome"
    with pytest.raises(ModuleNotFoundError, match=r"moefuzz\.harness\.nothing"):
        importlib.import_module("moefuzz.harness.nothing")
