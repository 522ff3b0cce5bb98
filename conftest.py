"""The Hypothesis home lies at the root of the checkout, whatever the working directory."""

from pathlib import Path

from moefuzz.harness.pytest_plugin.own_suite import use_home

use_home(Path(__file__).parent / ".hypothesis")
