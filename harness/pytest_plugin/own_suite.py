"""Settings of moefuzz's own test suite: its profiles, and the home directory of Hypothesis."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

OWN_SUITE = pytest.StashKey[bool]()


def use_default_profile(config: pytest.Config) -> None:
    """Mark the run as one of moefuzz's own suite: it has a header, and by default the profile ``ci`` if CI is set, else ``dev``."""
    from hypothesis import settings

    from moefuzz.harness.base import hypothesis_profiles

    config.stash[OWN_SUITE] = True
    hypothesis_profiles.register()
    if config.getoption("--hypothesis-profile", None) is None:
        settings.load_profile("ci" if os.environ.get("CI") else "dev")


def use_home(folder: Path) -> None:
    """Make ``folder`` the Hypothesis home, whatever the working directory."""
    from moefuzz.harness.base.hypothesis_internals import set_home

    set_home(folder)
