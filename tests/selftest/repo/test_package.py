"""``import moefuzz``: the public names, at no cost, from a checkout, an editable install and a wheel alike."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import moefuzz
from moefuzz import harness, strategies
from moefuzz.harness import __main__ as command
from moefuzz.tests.selftest.pytest_plugin.test_plugin import ROOT


def python(*arguments: str, cwd: Path, **environment: str) -> str:
    """What a fresh interpreter prints."""
    run = [sys.executable, *arguments]
    return subprocess.run(run, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment}, check=True).stdout.strip()  # noqa: S603


def test_every_public_name_is_one_of_moefuzz() -> None:
    homes = {name: home for home in (harness, strategies) for name in home.__all__}
    assert sorted({*homes, "__version__"}) == moefuzz.__all__
    assert all(getattr(moefuzz, name) is getattr(home, name) for name, home in homes.items())
    assert set(moefuzz.__all__) <= set(dir(moefuzz))


def test_the_version_is_that_of_the_distribution() -> None:
    assert moefuzz.__version__ == version("moefuzz")


def test_a_name_that_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'moefuzz' has no attribute 'nonesuch'"):
        _ = moefuzz.nonesuch


def test_importing_moefuzz_imports_nothing_large(tmp_path: Path) -> None:
    large = "import sys, moefuzz; print({'torch', 'triton', 'hypothesis', 'numpy', 'pytest'} & set(sys.modules))"
    assert python("-c", large, cwd=tmp_path) == "set()"


def test_python_m_moefuzz_is_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(command, "main", lambda: called.append("main"))
    runpy.run_path(str(Path(moefuzz.__file__).with_name("__main__.py")), run_name="__main__")
    assert called == ["main"]


@pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="an installed package")
def test_a_bare_checkout_is_the_whole_package(tmp_path: Path) -> None:
    """Without site-packages (-S), so that no install of the checkout can help."""
    parts = ("kernels.grouped_gemm", "harness.cli", "strategies", "tests.selftest.repo.test_package")
    found = f"from importlib.util import find_spec; print([part for part in {parts} if not find_spec(f'moefuzz.{{part}}')])"
    assert python("-S", "-c", found, cwd=tmp_path, PYTHONPATH=str(ROOT)) == "[]"
    assert python("-S", "-c", found, cwd=ROOT) == "[]"


def test_an_installed_package_takes_nothing_from_the_folder_around_it(tmp_path: Path) -> None:
    """Beside it may lie packages of others that are called ``kernels`` and ``harness``."""
    for module in ("moefuzz/__init__.py", "moefuzz/harness/__init__.py", "harness/__init__.py", "kernels/__init__.py"):
        (tmp_path / module).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / module).touch()
    (tmp_path / "moefuzz" / "__init__.py").write_text(Path(moefuzz.__file__).read_text())
    print_path = "import moefuzz; print(moefuzz.__path__)"
    assert python("-S", "-c", print_path, cwd=tmp_path) == str([str(tmp_path / "moefuzz")])
