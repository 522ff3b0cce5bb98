"""What the suite asks of the plugin, in a checkout and from an installed wheel alike."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from moefuzz.harness.base.device import one_thread
from moefuzz.harness.base.environment import TARGET_VARIABLE
from moefuzz.harness.pytest_plugin import own_suite
from moefuzz.harness.pytest_plugin.profile_names import NEED_A_GPU

_SELFTEST = Path(__file__).parent / "selftest"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    own_suite.use_default_profile(config)
    one_thread()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Properties of a level of which no target was asked for are deselected."""
    left_out = [item for item in items if item.get_closest_marker("not_asked")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A run for a kernel's sake leaves out the claims about this tool, but for those that need the GPU."""
    on_gpu = config.getoption("--hypothesis-profile", None) in NEED_A_GPU or TARGET_VARIABLE in os.environ
    tool_only = collection_path.is_relative_to(_SELFTEST) and collection_path.suffix == ".py" and "gpu" not in collection_path.name
    return True if on_gpu and tool_only else None
