"""What pyproject.toml cannot say: the packages, derived from the folders, and README.md as PyPI shows it, with absolute links."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
FOLDERS = ("kernels", "harness", "strategies", "tests")  # each is moefuzz.<folder>
REPOSITORY = "https://github.com/moefuzz/moefuzz"
LINK = re.compile(r"""(\]\(|^\[[^]]+\]: *|(?:src|href)=["'])([^)\s"'#]+)""", re.MULTILINE)


def packages() -> list[str]:
    """``moefuzz``, and each folder that holds a Python file."""
    folders = {path.parent.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    return ["moefuzz", *sorted(".".join(("moefuzz", *folder.parts)) for folder in folders)]


def absolute(link: re.Match[str]) -> str:
    """A link to a file of this checkout, as a link to the repository; any other as it is."""
    start, path = link.groups()
    if not (ROOT / path).exists():
        return link[0]
    return f"{start}{REPOSITORY}/{'raw' if path.endswith(('.png', '.svg')) else 'blob'}/main/{path}"


setup(
    packages=packages(),
    package_dir={f"moefuzz.{folder}": folder for folder in FOLDERS},
    long_description=LINK.sub(absolute, (ROOT / "README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
