"""The sdist has the whole repository, the wheel the whole package, and PyPI's page no link that leads nowhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from packaging.metadata import Metadata
from packaging.utils import canonicalize_name

from moefuzz.tests.selftest.pytest_plugin.test_plugin import ROOT

from .test_architecture import MODULES, imports_of

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no git checkout")
FOLDERS = ("moefuzz", "kernels", "harness", "strategies", "tests")
REPOSITORY = "https://github.com/moefuzz/moefuzz"


class Distributions(NamedTuple):
    """The tracked files, and what was built of them."""

    tracked: set[str]
    sdist: Path
    wheel: Path


def built(folder: Path, *options: str) -> Distributions:
    """Build the sdist from a copy of the tracked files, which leaves the checkout as it is, and the wheel from the sdist."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    tracked = {name for name in listed.stdout.split("\0") if (ROOT / name).is_file()}
    for name in tracked:
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / "source" / name)
    (folder / "source" / "tests" / "compiled.cpython-311.pyc").touch()  # as a checkout has that was used
    command = [sys.executable, "-m", "build", *options, "--outdir", str(folder / "dist"), str(folder / "source")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr
    return Distributions(tracked, next((folder / "dist").glob("*.tar.gz")), next((folder / "dist").glob("*.whl")))


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    return built(tmp_path_factory.mktemp("built"), "--no-isolation")


@pytest.fixture(scope="module")
def metadata(distributions: Distributions) -> Metadata:
    """Raises where PyPI would refuse it."""
    with zipfile.ZipFile(distributions.wheel) as wheel:
        text = next(wheel.read(name) for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Metadata.from_email(text)


def test_the_sdist_is_the_repository(distributions: Distributions) -> None:
    with tarfile.open(distributions.sdist) as sdist:
        held = {name.partition("/")[2] for name in (member.name for member in sdist if member.isfile())}
    made = {name for name in held if name.startswith("moefuzz.egg-info/")} | {"PKG-INFO", "setup.cfg"}
    assert (held - made) ^ {name for name in distributions.tracked if name != ".gitignore" and not name.startswith(".ci/")} == set()


def test_the_wheel_is_the_package(distributions: Distributions) -> None:
    with zipfile.ZipFile(distributions.wheel) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    ours = {name for name in distributions.tracked if name.startswith(tuple(f"{folder}/" for folder in FOLDERS))}
    assert held ^ {name if name.startswith("moefuzz/") else f"moefuzz/{name}" for name in ours} == set()


def links(tokens: list[Token]) -> Iterator[str]:
    """Where the links and pictures of a parsed page lead; a tag of HTML stands for itself, so that it is seen too."""
    for token in tokens:
        yield from (str(token.attrs[name]) for name in ("href", "src") if name in token.attrs)
        if token.type.startswith("html"):
            yield from (part.partition('"')[0] for name in ("href", "src") for part in token.content.split(f'{name}="')[1:])
        yield from links(token.children or [])


def test_each_link_of_the_page_on_pypi_is_absolute(distributions: Distributions, metadata: Metadata) -> None:
    leads = set(links(MarkdownIt().parse(metadata.description or "")))
    assert metadata.description_content_type == "text/markdown"
    assert {link for link in leads if not link.startswith(("https://", "#"))} == set()
    own = {link.partition("#")[0].split("/main/")[1] for link in leads if link.startswith(f"{REPOSITORY}/") and "/main/" in link}
    assert own and own <= distributions.tracked
    assert all(f"{REPOSITORY}/raw/" in link for link in leads if link.endswith((".png", ".svg")) and link.startswith(REPOSITORY))


def test_the_page_on_pypi_is_the_readme(metadata: Metadata) -> None:
    def relative(text: str) -> str:
        return text.replace(f"{REPOSITORY}/blob/main/", "").replace(f"{REPOSITORY}/raw/main/", "")

    assert relative(metadata.description or "") == relative((ROOT / "README.md").read_text())


def test_the_metadata_say_who_what_where_and_for_which_python(metadata: Metadata) -> None:
    assert metadata.author and metadata.keywords and metadata.license_expression == "Apache-2.0" and metadata.license_files == ["LICENSE"]
    assert set(metadata.project_urls or {}) == {"Homepage", "Repository", "Documentation", "Changelog", "Issues"}
    assert all(url.startswith(REPOSITORY) for url in (metadata.project_urls or {}).values())
    said = [each.rpartition(" ")[2] for each in metadata.classifiers or [] if each.startswith("Programming Language :: Python :: 3.")]
    assert str(metadata.requires_python) == f">={said[0]}"


def test_each_package_that_is_imported_is_declared(metadata: Metadata) -> None:
    """Adapters import what they adapt, and say what to install where it is missing."""
    declared = {canonicalize_name(requirement.name) for requirement in metadata.requires_dist or []}
    files = [path for path in MODULES if path.parts[:3] != ("harness", "targets", "adapters")]
    imported = {name.partition(".")[0] for path in files for name in imports_of(path, (ROOT / path).read_text())} - {
        *sys.stdlib_module_names,
        "moefuzz",
    }
    homes = packages_distributions()
    assert {name for name in imported if not declared & {canonicalize_name(home) for home in homes.get(name, [name])}} == set()
