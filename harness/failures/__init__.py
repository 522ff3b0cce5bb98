"""All ways in which a target can fail, as a closed list: a class for each kind and tensor.

Hypothesis distinguishes two bugs by the class of the exception, so that each is minimised by itself and does not turn into another.
A failure is a value; ``text.py`` makes the printed text from its fields.
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
from moefuzz.kernels import kernel_config

from .facts import Mismatch, Origin
from .kinds import OF_INPUTS, OF_RESULTS, Kind, titled
from .text import render

Bucket = tuple[str, str, str | None, str | None]
"""Target, kind, tensor, and the pass that computes the tensor."""


def bucket_of(target: str, kind: Kind, tensor: str | None) -> Bucket:
    """Return the bucket of a target's failures of a kind and tensor."""
    return (target, str(kind), tensor, passes().get(tensor) if tensor else None)


class Failure(AssertionError):
    """A target broke its contract on a case."""

    kind: ClassVar[Kind] = Kind("Failure")
    tensor: ClassVar[str | None] = None
    origin: Origin | None = None  # None where that was not recorded
    checked: Any = None  # the ``Checked`` of the case, for a report: see verdict/checked.py

    def __init__(self, case: Case, target: str, finding: str, mismatch: Mismatch | None = None) -> None:
        super().__init__(finding)
        self.case = case
        self.target = target
        self.finding = finding
        self.mismatch = mismatch

    @property
    def title(self) -> str:
        """The kind and tensor, as "WrongValue of dW"."""
        return titled(self.kind, self.tensor)

    @property
    def bucket(self) -> Bucket:
        """The bucket; failures of equal buckets count as one bug."""
        return bucket_of(self.target, self.kind, self.tensor)

    def __reduce__(self) -> tuple[Any, ...]:
        made_of = (self.kind, self.tensor, self.case, self.target, self.finding, self.mismatch)
        checked = self.checked if isinstance(self.checked, bytes) else None  # as it was packed for another process
        return failure_from_record, made_of, {"origin": self.origin, "checked": checked, "__notes__": list(getattr(self, "__notes__", ()))}

    def turned(self, into: type[Failure], finding: str) -> Failure:
        """Return the failure as one of another class, with its other attributes and notes."""
        made = into(self.case, self.target, finding, self.mismatch)
        made.origin, made.checked, made.__cause__ = self.origin, self.checked, self.__cause__
        for note in getattr(self, "__notes__", ()):
            made.add_note(note)
        return made

    def __str__(self) -> str:
        return render(self)


class Raised(Failure):
    """The target raised an exception on a case inside its declaration; each type of exception has a class of its own."""

    kind = Kind("Raised")


class NotRefused(Failure):
    """A case outside the declaration was neither refused with an exception nor computed right."""


class Unreproducible(Failure):
    """A failure that did not recur when the case ran again in new processes; each kind that was seen once has a class of its own."""


class Misuse(Failure):
    """A misuse of memory by a kernel, found by the sanitizer; each kind, kernel and argument has a class of its own."""


class WrongRouting(Failure):
    """Another expert was chosen although the logits are further apart than their bounds."""

    kind = Kind("WrongRouting")


class WroteOutside(Failure):
    """A store beyond the end of an allocation, before its start, or into a stride gap of an input."""

    kind = Kind("WroteOutside")


class ReadOutside(Failure):
    """A load from beyond the end of an allocation or from before its start; found under Triton's interpreter."""

    kind = Kind("ReadOutside")


class Crash(Failure):
    """The process in which the target ran ended, by a signal or by an exit that is no exception."""

    kind = Kind("Crash")


class ThreadLeft(Failure):
    """A thread that the call started still ran after it returned, and is no daemon: the caller's process does not end before it."""

    kind = Kind("ThreadLeft")


class Hang(Failure):
    """The target did not return within the time limit of a case."""

    kind = Kind("Hang")


class CudaError(Failure):
    """The device no longer answers: the error stays with the CUDA context and fails every later call of the process."""

    kind = Kind("CudaError")


_MADE = (Failure, WrongRouting, WroteOutside, ReadOutside, ThreadLeft, Crash, Hang, CudaError)
_PLAIN: dict[Kind, type[Failure]] = {made.kind: made for made in _MADE}


def class_of(kind: Kind, tensor: str | None = None) -> type[Failure]:
    """Return the class of a kind and tensor, always the same object. Raises ValueError where no failure has these two."""
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
    """Return the tensors that a failure of a kind may name. An unreproducible failure names none."""
    if kind.unreproducible or kind.is_misuse or kind.base not in (*OF_INPUTS, *OF_RESULTS):
        return (None,)
    return inputs() if kind.base in OF_INPUTS else passes()


def failure_from_record(kind: Kind, tensor: str | None, *fields: Any) -> Failure:
    """Make a failure from its kind, its tensor and the arguments of its class. Raises ValueError for an unknown kind."""
    return class_of(kind, tensor)(*fields)


def failure_from_exception(case: Case, target: str, error: BaseException) -> Failure:
    """Return the failure for an exception of a target."""
    return class_of(Kind("Raised", _type_name(error)))(case, target, said_by(error))


def not_refused(failure: Failure, limit: str) -> Failure:
    """Turn a failure on a case outside the declaration into a NotRefused; ``limit`` says why the case lies outside."""
    into = class_of(replace(failure.kind, not_refused=True), failure.tensor)
    return failure.turned(into, f"{limit}, and instead of an exception: {failure.finding}")


def unreproducible(failure: Failure, finding: str) -> Failure:
    """Turn a failure that did not recur into an Unreproducible."""
    return failure.turned(class_of(replace(failure.kind, unreproducible=True)), finding)


def misuse(case: Case, target: str, kind: str, argument: str, finding: str) -> Failure:
    """Return the failure for a finding of the sanitizer; ``argument`` is kernel.argument."""
    return class_of(Kind(kind, argument))(case, target, finding)


def said_by(error: BaseException) -> str:
    """Return what a target raised, and where: in the innermost of its own frames, or of all frames if all belong to libraries."""
    of_kernel = error.__cause__ if _type_name(error) == "InterpreterError" else None  # which Triton raises from what a kernel raised
    frames = traceback.extract_tb((of_kernel or error).__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename and not _is_ours(frame.filename)]
    at = (own or frames)[-1]
    return f"raised {_type_name(error)}: {text_of(error)[:1000]}, at {Path(at.filename).name}:{at.lineno} in {at.name}"


def _is_ours(file: str) -> bool:
    """Return whether a file is moefuzz's own, and no adapter, which stands for the target; kernels of ours are a target like any other."""
    home, path = Path(__file__).parents[1], Path(file)
    adapters, interpreter = home / "targets" / "adapters", Path(kernel_config.__file__).with_name("triton_interpreter")
    return path.is_relative_to(interpreter) or (path.is_relative_to(home) and not path.is_relative_to(adapters))


def _type_name(error: BaseException) -> str:
    """Return the name of an exception's type as Python stores it, even where the type overrides ``__name__``, in printable letters."""
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
