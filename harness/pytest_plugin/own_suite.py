"""What moefuzz's own suite asks of the plugin: its profiles, and its place for what Hypothesis keeps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

OWN_SUITE = pytest.StashKey[bool]()


def use_default_profile(config: pytest.Config) -> None:
    """For a run of moefuzz's own suite: show the header; load ``ci`` where CI is set, else ``dev``, if no profile is asked for."""
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
