"""What a long run is asked for when its folder holds an earlier run."""

from __future__ import annotations

from pathlib import Path

from moefuzz.harness.campaign.settings import RunSettings
from moefuzz.harness.cli.fuzz_options import FuzzOptions
from moefuzz.harness.cli.start_long import merged

BEFORE = RunSettings(("mine:kernel",), 5.0, False, 7.0, True, "/known.toml", "redis://host", 11, ("far",))


def test_what_no_option_gives_is_as_the_earlier_run_had_it_but_for_the_time() -> None:
    assert merged(FuzzOptions(), BEFORE) == RunSettings(
        ("mine:kernel",), 120.0, False, 7.0, True, "/known.toml", "redis://host", 11, ("far",)
    )


def test_what_an_option_gives_overrules_the_earlier_run() -> None:
    given = FuzzOptions(
        specs=("other:kernel",), seconds=3.0, isolate=True, case_seconds=2.0, known=Path("mine.toml"), share="redis://b", seed=0,
        regimes=("any",),
    )  # fmt: skip
    known = str(Path("mine.toml").absolute())
    assert merged(given, BEFORE) == RunSettings(("other:kernel",), 3.0, True, 2.0, True, known, "redis://b", 0, ("any",))


def test_without_an_earlier_run_the_seed_is_by_chance() -> None:
    options = FuzzOptions(by_chance=13)
    assert merged(options, None) == RunSettings((), 120.0, seed=13)
    assert merged(FuzzOptions(by_chance=13, seed=5, examples=2), None) == RunSettings((), float("inf"), seed=5)
