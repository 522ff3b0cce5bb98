"""What pyproject.toml cannot say: the packages, derived from the folders."""

from __future__ import annotations

from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
FOLDERS = ("kernels", "harness", "strategies", "tests")  # each is moefuzz.<folder>


def packages() -> list[str]:
    """``moefuzz``, and each folder that holds a Python file."""
    folders = {path.parent.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    return ["moefuzz", *sorted(".".join(("moefuzz", *folder.parts)) for folder in folders)]


setup(packages=packages(), package_dir={f"moefuzz.{folder}": folder for folder in FOLDERS})
