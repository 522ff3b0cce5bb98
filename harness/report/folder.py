"""A folder for each distinct failure, ready for an issue tracker.

In it are ``report.md``, ``reproduce.py``, ``case.json``, ``mismatch.png`` where numbers are wrong, and ``log.txt`` where the target raised.
Its name is an ID made of the bucket and of the case without the fields that do not matter: the same failure found again fills the same
folder. ``write.py`` writes one; reading one waits for no torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moefuzz.harness.base.case import Case
from moefuzz.harness.base.case_text import case_from_json, case_kinds
from moefuzz.harness.failures import Bucket, Failure, bucket_of, class_of
from moefuzz.harness.failures.kinds import Kind, titled
from moefuzz.harness.targets import BadTarget
from moefuzz.harness.targets.registry import declared_target
from moefuzz.kernels.kernel_config import KernelConfig

if TYPE_CHECKING:
    from moefuzz.harness.reduction.explain import Region

FORMAT_VERSION = 1
DEFAULT = "moefuzz-reports"


class BadReport(Exception):
    """A report that cannot be read; the text is one line."""


@dataclass(frozen=True)
class Report:
    """What ``case.json`` says of a failure. Nothing in it is executed when it is read."""

    id: str
    target: str
    kind: Kind
    tensor: str | None
    finding: str
    case: Case

    @property
    def title(self) -> str:
        """Its kind and tensor in words."""
        return titled(self.kind, self.tensor)

    @property
    def bucket(self) -> Bucket:
        return bucket_of(self.target, self.kind, self.tensor)


def id_of(failure: Failure, without: Sequence[str] = ()) -> str:
    """Eight hexadecimal digits for a failure's bucket, and its case ``without`` the fields that do not matter.

    Of its config only what has not its default, so that a flag which a later version adds changes no id.
    """
    fields = {name: value for name, value in json.loads(failure.case.to_json()).items() if name not in without}
    if isinstance(fields.get("config"), dict):
        plain = dataclasses.asdict(KernelConfig())
        fields["config"] = {name: value for name, value in fields["config"].items() if value != plain[name]}
    return hashlib.sha256(json.dumps([failure.bucket, fields]).encode()).hexdigest()[:8]


def read(path: Path) -> Report:
    """The report of a folder or of its ``case.json``. Raises BadReport."""
    file = path / "case.json" if path.is_dir() else path
    try:
        fields: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if fields["format"] != FORMAT_VERSION:
            raise BadReport(f"{file}: report has format {fields['format']!r}, this version of moefuzz reads {FORMAT_VERSION}")
        said = {name: fields[name] for name in ("id", "target", "kind", "tensor", "finding")}
        if not all(isinstance(text, str) for name, text in said.items() if name != "tensor" or text is not None):
            raise BadReport(f"{file}: id, target, kind, tensor and finding must be texts")
        if fields["case"].get("kind") not in case_kinds():
            declared_target(said["target"])  # whose module may bring the level of the case
        kind = Kind.read(said["kind"])
        class_of(kind, said["tensor"])  # raises for what no failure is
        return Report(**{**said, "kind": kind}, case=case_from_json(json.dumps(fields["case"])))
    except BadTarget as error:
        raise BadReport(f"{file} is of a case that no level has, and its target brings none: {error}") from None
    except OSError as error:
        raise BadReport(f"{file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadReport(f"{file} is no report: {type(error).__name__}: {error}") from None


def region_of(folder: Path) -> Region | None:
    """What a report of this folder explains; None where it does not say."""
    from moefuzz.harness.reduction.explain import Region

    try:
        return Region.of(json.loads((folder / "region.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_all(folder: Path) -> Iterator[Report | BadReport]:
    """Every report of a folder, those that cannot be read as what is wrong with them."""
    for file in sorted(folder.glob("*/case.json")):
        try:
            yield read(file)
        except BadReport as error:
            yield error


def reports_in(folder: Path) -> Path:
    """Where the reports of a folder lie, which may be a run's."""
    return folder / "reports" if (folder / "run.json").exists() else folder
