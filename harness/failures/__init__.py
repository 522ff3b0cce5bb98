"""Every way in which a target can fail: one closed list, a class for each kind and tensor.

Hypothesis tells two bugs apart by the class of the exception, so that each is minimised by itself and none slips into another.
A failure is a value: what is printed is made from its fields in ``text.py``.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from moefuzz.harness.base.case import Case
from moefuzz.harness.base.contract import inputs, passes
from moefuzz.harness.base.exception_text import text_of

from .facts import Mismatch, Origin
from .kinds import OF_INPUTS, OF_RESULTS, Kind, titled
from .text import render

Bucket = tuple[str, str, str | None, str | None]
"""Target, kind, tensor, and the pass that makes it."""


def bucket_of(target: str, kind: Kind, tensor: str | None) -> Bucket:
    """The bucket of a target's failures of a kind and tensor."""
    return (target, str(kind), tensor, passes().get(tensor) if tensor else None)


class Failure(AssertionError):
    """A target that broke its contract on a case."""

    kind: ClassVar[Kind] = Kind("Failure")
    tensor: ClassVar[str | None] = None
    origin: Origin | None = None  # None where that was not recorded
    checked: Any = None  # what ``check`` had of the case, for a report: see verdict/checked.py

    def __init__(self, case: Case, target: str, finding: str, mismatch: Mismatch | None = None) -> None:
        super().__init__(finding)
        self.case = case
        self.target = target
        self.finding = finding
        self.mismatch = mismatch

    @property
    def title(self) -> str:
        """Its kind and tensor in words: "WrongValue of dW"."""
        return titled(self.kind, self.tensor)

    @property
    def bucket(self) -> Bucket:
        """What makes two failures one bug."""
        return bucket_of(self.target, self.kind, self.tensor)

    def __reduce__(self) -> tuple[Any, ...]:
        made_of = (self.kind, self.tensor, self.case, self.target, self.finding, self.mismatch)
        checked = self.checked if isinstance(self.checked, bytes) else None  # as it was packed for another process
        return failure_from_record, made_of, {"origin": self.origin, "checked": checked, "__notes__": list(getattr(self, "__notes__", ()))}

    def turned(self, into: type[Failure], finding: str) -> Failure:
        """The same as a failure of another class, with all that was noted on it."""
        made = into(self.case, self.target, finding, self.mismatch)
        made.origin, made.checked, made.__cause__ = self.origin, self.checked, self.__cause__
        for note in getattr(self, "__notes__", ()):
            made.add_note(note)
        return made

    def __str__(self) -> str:
        return render(self)


class Raised(Failure):
    """The target raised an exception on a case inside its declaration; a class of its own for each type of exception."""

    kind = Kind("Raised")


class NotRefused(Failure):
    """A case outside the declaration was neither refused with an exception nor computed right."""


class Unreproducible(Failure):
    """A failure that the same case did not show again in processes of their own; a class for each kind that was seen once."""


class Misuse(Failure):
    """What the sanitizer saw a kernel do with memory; a class of its own for each kind, kernel and argument."""


class WrongRouting(Failure):
    """Another expert was chosen although the logits are further apart than their bounds."""

    kind = Kind("WrongRouting")


class WroteOutside(Failure):
    """A store beyond the end of an allocation, before its start, or into a stride gap of an input."""

    kind = Kind("WroteOutside")


class ReadOutside(Failure):
    """A load from beyond the end of an allocation or from before its start; seen under Triton's interpreter."""

    kind = Kind("ReadOutside")


class Crash(Failure):
    """The process in which the target ran ended: a signal, or an exit that is no exception."""

    kind = Kind("Crash")


class ThreadLeft(Failure):
    """The call returned, and a thread that it started still runs and is no daemon: the process of its caller does not end by itself."""

    kind = Kind("ThreadLeft")


class Hang(Failure):
    """The target had not returned after the time that a case may take."""

    kind = Kind("Hang")


class CudaError(Failure):
    """The device answers no more: an error that stays with the CUDA context and fails every later call of the process."""

    kind = Kind("CudaError")


_MADE = (Failure, WrongRouting, WroteOutside, ReadOutside, ThreadLeft, Crash, Hang, CudaError)
_PLAIN: dict[Kind, type[Failure]] = {made.kind: made for made in _MADE}


def class_of(kind: Kind, tensor: str | None = None) -> type[Failure]:
    """The class of a kind and tensor, always the same one. Raises ValueError where no failure has these two."""
    return _class_of(kind, tensor)


@functools.cache
def _class_of(kind: Kind, tensor: str | None) -> type[Failure]:
    if kind in _PLAIN and tensor is None:
        return _PLAIN[kind]
    if tensor not in _tensors_of(kind):
        raise ValueError(f"no failure that this version of moefuzz knows is {titled(kind, str(tensor))!r:.200}")
    base: type[Failure] = Failure
    if kind.unreproducible:
        base = Unreproducible
    elif kind.not_refused:
        base = NotRefused
    elif kind.base == "Raised":
        base = Raised
    elif kind.is_misuse:
        base = Misuse
    words = ("Unreproducible" * kind.unreproducible, "NotRefused" * kind.not_refused, kind.base, kind.detail, tensor)
    return type("_".join(filter(None, words)), (base,), {"kind": kind, "tensor": tensor, "__doc__": _MEANING.get(kind.base)})


def _tensors_of(kind: Kind) -> Collection[str | None]:
    """Which tensors a failure of a kind may be about. One that did not come back is about none."""
    if kind.unreproducible or kind.is_misuse or kind.base not in (*OF_INPUTS, *OF_RESULTS):
        return (None,)
    return inputs() if kind.base in OF_INPUTS else passes()


def failure_from_record(kind: Kind, tensor: str | None, *fields: Any) -> Failure:
    """A failure that another process found: its kind and tensor, and what it is made of. Raises ValueError for an unknown kind."""
    return class_of(kind, tensor)(*fields)


def failure_from_exception(case: Case, target: str, error: BaseException) -> Failure:
    """The failure that an exception of a target is."""
    return class_of(Kind("Raised", _type_name(error)))(case, target, said_by(error))


def not_refused(failure: Failure, limit: str) -> Failure:
    """What a failure is outside the declaration, where ``limit`` says why the case lies there."""
    into = class_of(replace(failure.kind, not_refused=True), failure.tensor)
    return failure.turned(into, f"{limit}, and instead of an exception: {failure.finding}")


def unreproducible(failure: Failure, finding: str) -> Failure:
    """What a failure is that was seen once."""
    return failure.turned(class_of(replace(failure.kind, unreproducible=True)), finding)


def misuse(case: Case, target: str, kind: str, argument: str, finding: str) -> Failure:
    """The failure that a finding of the sanitizer is; ``argument`` as kernel.argument."""
    return class_of(Kind(kind, argument))(case, target, finding)


def said_by(error: BaseException) -> str:
    """What a target raised, and where: the innermost of its own frames, or of all if they are all libraries'."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename and not _is_ours(frame.filename)]
    at = (own or frames)[-1]
    return f"raised {_type_name(error)}: {text_of(error)[:1000]}, at {Path(at.filename).name}:{at.lineno} in {at.name}"


def _is_ours(file: str) -> bool:
    """Whether a file is moefuzz's own, and no adapter, which speaks for the target."""
    home = Path(__file__).parents[1]
    return Path(file).is_relative_to(home) and not Path(file).is_relative_to(home / "targets" / "adapters")


def _type_name(error: BaseException) -> str:
    """The name of an exception's type as Python keeps it, whatever the type itself gives for its name, in printable letters."""
    return Kind("Raised", type.__dict__["__name__"].__get__(type(error))).detail


class Disagreement(AssertionError):
    """Two implementations differ by more than two right results can."""


_MEANING = {
    "InputModified": "An input holds other bits after the call.",
    "WrongShape": "Another shape or dtype than the contract's.",
    "GradMissing": "An input that requires grad was left without one.",
    "NotWritten": "Elements still hold what the memory held before the call.",
    "NonFinite": "NaN or infinity where every right result is finite.",
    "WrongValue": "A finite number that no right computation gives.",
    "NonDeterministic": "Other bits from the same call.",
    "BrokenRelation": "Other bits from a call that must give the same.",
}


class _ByTensor:
    """The classes of a kind, by the tensor that it is about. Raises KeyError for a tensor that no level has."""

    def __init__(self, base: str) -> None:
        self._kind = Kind(base)

    def __getitem__(self, tensor: str | None) -> type[Failure]:
        if tensor not in self:
            raise KeyError(tensor)
        return class_of(self._kind, tensor)

    def __contains__(self, tensor: object) -> bool:
        return tensor is not None and tensor in _tensors_of(self._kind)

    def values(self) -> list[type[Failure]]:
        """Return the class of each tensor."""
        return [self[tensor] for tensor in _tensors_of(self._kind) if tensor]


INPUT_MODIFIED = _ByTensor("InputModified")
WRONG_SHAPE = _ByTensor("WrongShape")
GRAD_MISSING = _ByTensor("GradMissing")
NOT_WRITTEN = _ByTensor("NotWritten")
NON_FINITE = _ByTensor("NonFinite")
WRONG_VALUE = _ByTensor("WrongValue")
NON_DETERMINISTIC = _ByTensor("NonDeterministic")
BROKEN_RELATION = _ByTensor("BrokenRelation")
