"""``moefuzz new``: what it writes runs, is right, and overwrites nothing."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moefuzz.harness.base.hypothesis_profiles import drawn
from moefuzz.harness.base.suggestions import targets_in
from moefuzz.harness.cli.new_command import template
from moefuzz.harness.levels.cases import Case
from moefuzz.harness.targets import Target
from moefuzz.harness.targets.registry import load_target
from moefuzz.harness.verdict.check import check
from moefuzz.strategies.regimes import REGIMES

from .test_command_line import assert_refused, run

RUFF = Path(sysconfig.get_path("scripts"), "ruff")
LEVELS = ("grouped_gemm", "experts", "moe_block")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_written_is_right_in_every_regime(level: str, here: Path) -> None:
    done = run("new", f"new_{level}.py", "--level", level)
    assert done.exit_code == 0 and f"moefuzz fuzz -t new_{level}:target --time 30s" in done.stdout
    target = load_target(f"new_{level}:target")
    assert (target.level, target.name, target.declared()) == (level, f"new_{level}:target", [])
    assert "target" in targets_in(here / f"new_{level}.py")
    for cases in (regime(target) for regime in REGIMES[level].values()):
        if cases is not None:
            assert_right(cases, target)


def assert_right(cases: st.SearchStrategy[Case], target: Target) -> None:
    @settings(drawn(3), derandomize=True)
    @given(cases)
    def right(case: Case) -> None:
        assert not check(case, target).refused

    right()


@pytest.mark.skipif(not RUFF.exists(), reason="ruff is not installed")
@pytest.mark.parametrize("level", LEVELS)
def test_what_is_written_is_clean_and_goes_to_the_standard_output_too(level: str, here: Path) -> None:
    (here / "sub").mkdir()
    assert run("new", "sub/made.py", "--level", level).exit_code == 0
    text = (here / "sub" / "made.py").read_text()
    assert run("new", "-", "--level", level).stdout == text.replace("sub.made:", "mine:")
    for words in (("check", "--isolated", "--select=E,F,I,UP,B,W"), ("format", "--isolated", "--check")):
        assert subprocess.run([RUFF, *words, "--quiet", "sub/made.py"], check=False).returncode == 0  # noqa: S603


def test_every_limit_is_explained() -> None:
    for level in LEVELS:
        text = template(level, "mine")
        assert all(f"{limit}=" in text for limit in Target("any", lambda *_: None, level=level).limits())


def test_what_cannot_be_written_is_one_line(here: Path) -> None:
    (here / "mine.py").write_text("kept")
    for file, said in (
        ("mine.py", "mine.py exists already"), ("none/mine.py", "none/mine.py: No such file"), ("/proc/mine.py", "/proc/mine.py: "),
        ("mine", "give a name like mine.py"), ("my-kernel.py", "give a name like"), ("class.py", "give a name like"),
        ("torch.py", "a module torch is installed"), (".", "give a name like"), (".py", "give a name like"),
    ):  # fmt: skip
        assert_refused(run("new", file), said)
    assert (here / "mine.py").read_text() == "kept" and [path.name for path in here.iterdir()] == ["mine.py"]
