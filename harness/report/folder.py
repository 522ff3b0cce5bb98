"""A folder for each distinct failure, ready for an issue tracker.

It holds ``report.md``, ``reproduce.py``, ``case.json``, ``mismatch.png`` if numbers are wrong, and ``log.txt`` if the target raised. Its
name is an ID computed from the bucket and from the fields of the case that matter, so that the same failure found again has the same
folder. ``write.py`` writes it; reading it does not import torch.
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
    """Raised for a report that cannot be read; the text is one line."""


@dataclass(frozen=True)
class Report:
    """The content of ``case.json``. Reading it executes nothing."""

    id: str
    target: str
    kind: Kind
    tensor: str | None
    finding: str
    case: Case

    @property
    def title(self) -> str:
        """The kind and the tensor of the failure in words."""
        return titled(self.kind, self.tensor)

    @property
    def bucket(self) -> Bucket:
        return bucket_of(self.target, self.kind, self.tensor)


def id_of(failure: Failure, without: Sequence[str] = ()) -> str:
    """Return eight hexadecimal digits, a hash of a failure's bucket and its case ``without`` the fields that do not matter.

    Only values of the config that differ from the default count, so that a flag added by a later version does not change an ID.
    """
    fields = {name: value for name, value in json.loads(failure.case.to_json()).items() if name not in without}
    if isinstance(fields.get("config"), dict):
        plain = dataclasses.asdict(KernelConfig())
        fields["config"] = {name: value for name, value in fields["config"].items() if value != plain[name]}
    return hashlib.sha256(json.dumps([failure.bucket, fields]).encode()).hexdigest()[:8]


def read(path: Path) -> Report:
    """Return the report of a folder or of its ``case.json``. Raises BadReport."""
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
        class_of(kind, said["tensor"])  # raises for an unknown kind or tensor
        return Report(**{**said, "kind": kind}, case=case_from_json(json.dumps(fields["case"])))
    except BadTarget as error:
        raise BadReport(f"{file} is of a case that no level has, and its target brings none: {error}") from None
    except OSError as error:
        raise BadReport(f"{file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadReport(f"{file} is no report: {type(error).__name__}: {error}") from None


def region_of(folder: Path) -> Region | None:
    """Return the region that the report in this folder explains; None if the folder does not hold one."""
    from moefuzz.harness.reduction.explain import Region

    try:
        return Region.of(json.loads((folder / "region.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_all(folder: Path) -> Iterator[Report | BadReport]:
    """Yield every report of a folder, or its error if it cannot be read."""
    for file in sorted(folder.glob("*/case.json")):
        try:
            yield read(file)
        except BadReport as error:
            yield error


def reports_in(folder: Path) -> Path:
    """Return the folder of reports: that within a run's folder, else the folder itself."""
    return folder / "reports" if (folder / "run.json").exists() else folder
