"""Launches of our kernels on a GPU, without one: they are Triton's own, found sooner."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CLAIMS = (
    "every_launch_is_the_one_that_triton_would_make",
    "fewer_rows_than_a_tile_are_stored_16_bytes_at_a_time",
    "hooks_see_every_launch",
    "debug_compiles_anew",
    "blocks_of_descriptors_choose_a_variant",
    "a_kernel_that_depends_on_values_is_refused",
)


@pytest.mark.parametrize("claim", CLAIMS)
def test_launching(claim: str) -> None:
    command = [sys.executable, "-m", "moefuzz.tests.selftest.support.launch_claims", claim]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
