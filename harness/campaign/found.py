"""A failure that a run has found, as its folder stores it."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from moefuzz.harness.base.case import Case
from moefuzz.harness.base.case_text import case_from_json
from moefuzz.harness.failures import Bucket, Failure, failure_from_record
from moefuzz.harness.failures.facts import Origin
from moefuzz.harness.failures.kinds import Kind, titled
from moefuzz.harness.reduction.explain import Region


@dataclass
class Found:
    """A failure as a worker found it, and the outcome of its reduction.

    ``outcome`` is "" until then; "report"; "once" (reported, not reproducible); "same" (as another); "gone"; "known" (of an earlier run).
    """

    key: str
    bucket: Bucket
    target: str
    regime: str
    case: Case
    finding: str
    choices: bytes = b""  # of Hypothesis, to draw the case again
    origin: Origin | None = None  # None in a file of an earlier version
    tries: int = 0
    outcome: str = ""
    report: str | None = None
    became: Bucket | None = None  # the bucket of its report
    region: Region = field(default_factory=Region)

    @property
    def kind(self) -> Kind:
        return Kind.read(self.bucket[1])

    @property
    def failure(self) -> Failure:
        """The failure as it was found. Raises ValueError for a record that this version of moefuzz cannot read."""
        failure = failure_from_record(self.kind, self.bucket[2], self.case, self.bucket[0], self.finding)
        failure.origin = self.origin
        return failure

    def to_json(self) -> str:
        fields = {name: getattr(self, name) for name in _PLAIN_FIELDS}
        made = {"case": json.loads(self.case.to_json()), "choices": base64.b64encode(self.choices).decode(), "region": self.region.plain()}
        return json.dumps({**fields, **made, "origin": self.origin and asdict(self.origin)})

    @classmethod
    def from_json(cls, text: str) -> Found:
        """Return the finding that a file's text holds. Raises ValueError for any other text."""
        try:
            said = json.loads(text)
            buckets = {name: said[name] and tuple(said[name]) for name in ("bucket", "became")}
            made = {"case": case_from_json(json.dumps(said["case"])), "region": Region.of(said["region"])}
            plain = {name: said[name] for name in _PLAIN_FIELDS}
            if wrong := [name for name, value in plain.items() if not isinstance(value, _PLAIN_FIELDS[name])]:
                raise ValueError(f"{', '.join(wrong)} cannot be {', '.join(repr(plain[name])[:50] for name in wrong)}")
            choices, origin = base64.b64decode(said["choices"]), said.get("origin") and Origin.of(said["origin"])
            found = cls(**{**plain, **buckets, **made, "choices": choices, "origin": origin})
            found.failure  # noqa: B018 - raises for a record that is no failure
        except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise ValueError(f"no finding: {type(error).__name__}: {error}") from None
        return found


_PLAIN_FIELDS = {
    **dict.fromkeys(("key", "target", "regime", "finding", "outcome"), str), "bucket": list, "tries": int,
    "report": str | None, "became": list | None,
}  # fmt: skip


def bucket_title(bucket: Sequence[str | None]) -> str:
    """Return a bucket as the title of a report.

    >>> bucket_title(("triton", "WrongValue", "Y", "forward"))
    'WrongValue of Y in triton'
    """
    target, kind, tensor, *_ = bucket
    return f"{titled(str(kind), tensor)} in {target}"
