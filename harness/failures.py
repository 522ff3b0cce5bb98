"""Every way in which a target can fail: one closed list, a class for each kind and tensor.

Hypothesis tells two bugs apart by the class of the exception, so that each is minimised by itself and none slips into another.
A failure is a value: what is printed is made from its fields in ``report.py``.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from .cases import Case
from .resources import text_of

PASS_OF = {
    "Y": "forward",
    "dX": "backward",
    "dW": "backward",
    "router_logits": "forward",
    "topk_weights": "forward",
    "first_gemm": "forward",
    "intermediate": "forward",
    "second_gemm": "forward",
    "hidden_states_unpermute": "forward",
    "output": "forward",
    "X_grad": "backward",
    "topk_weights_grad": "backward",
    "gate_grad": "backward",
    "gate_proj_grad": "backward",
    "up_proj_grad": "backward",
    "gate_up_proj_grad": "backward",
    "down_proj_grad": "backward",
}
"""The tensors that are compared, and the pass that makes each."""

INPUTS = ("X", "W", "m_sizes", "gather_indices", "topk_ids", "topk_weights", "gate_up_proj", "down_proj", "dY")


@dataclass(frozen=True)
class Mismatch:
    """Where a tensor is wrong. Ranges are inclusive; ``axes`` names what the entries of ``worst`` and ``box`` count."""

    axes: tuple[str, ...]
    worst: tuple[int, ...]
    got: float
    expected: float  # the reference in float64
    low: float  # the least right result, in the tensor's dtype
    high: float  # the greatest
    bound: float  # of the accumulation; 0 where it is exact
    wrong: int  # elements outside
    total: int
    box: tuple[tuple[int, int], ...]
    tiles: tuple[tuple[int, int] | None, ...]  # the box in tiles of the case's config, None along an axis without tiles


class Failure(AssertionError):
    """A target that broke its contract on a case."""

    kind: ClassVar[str] = "Failure"
    tensor: ClassVar[str | None] = None

    def __init__(self, case: Case, target: str, finding: str, mismatch: Mismatch | None = None) -> None:
        super().__init__(finding)
        self.case = case
        self.target = target
        self.finding = finding
        self.mismatch = mismatch

    @property
    def bucket(self) -> tuple[str, str, str | None, str | None]:
        """(target, kind, tensor, pass): what makes two failures one bug."""
        return (self.target, self.kind, self.tensor, PASS_OF.get(self.tensor) if self.tensor else None)

    def __reduce__(self) -> tuple[Any, ...]:
        made_of = (type(self).__name__, self.kind, self.tensor, self.case, self.target, self.finding, self.mismatch)
        return revived, made_of, {"__notes__": list(getattr(self, "__notes__", ()))}

    def __str__(self) -> str:
        from .report import render

        return render(self)


class Raised(Failure):
    """The target raised an exception on a case inside its declaration; a class of its own for each type of exception."""

    kind = "Raised"


@functools.cache
def _raised_class(error: str) -> type[Raised]:
    return type(f"Raised_{error}", (Raised,), {"kind": f"Raised {error}"})


def raised(case: Case, target: str, error: BaseException) -> Raised:
    """The failure that an exception of a target is."""
    return _raised_class(type(error).__name__)(case, target, said_by(error))


class NotRefused(Failure):
    """A case outside the declaration was neither refused with an exception nor computed right."""

    kind = "NotRefused"


def not_refused(failure: Failure, limit: str) -> NotRefused:
    """What a failure is outside the declaration, where ``limit`` says why the case lies there."""
    made = _not_refused_class(failure.kind, failure.tensor)
    return made(failure.case, failure.target, f"{limit}, and instead of an exception: {failure.finding}", failure.mismatch)


@functools.cache
def _not_refused_class(kind: str, tensor: str | None) -> type[NotRefused]:
    name = "_".join(["NotRefused", *kind.split(), *([tensor] if tensor else [])])
    return type(name, (NotRefused,), {"kind": f"NotRefused {kind}", "tensor": tensor})


class WrongRouting(Failure):
    """Another expert was chosen although the logits are further apart than their bounds."""

    kind = "WrongRouting"


def said_by(error: BaseException) -> str:
    """What a target raised, and where: the innermost of its own frames, or of all if they are all libraries'."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename and Path(frame.filename).parent != Path(__file__).parent]
    at = (own or frames)[-1]
    return f"raised {type(error).__name__}: {text_of(error)[:1000]}, at {Path(at.filename).name}:{at.lineno} in {at.name}"


class Disagreement(AssertionError):
    """Two implementations differ by more than two right results can."""


class WroteOutside(Failure):
    """A store beyond the end of an allocation, before its start, or into a stride gap of an input."""

    kind = "WroteOutside"


class Crash(Failure):
    """The process in which the target ran ended: a signal, or an exit that is no exception."""

    kind = "Crash"


class Hang(Failure):
    """The target had not returned after the time that a case may take."""

    kind = "Hang"


class CudaError(Failure):
    """The device answers no more: an error that stays with the CUDA context and fails every later call of the process."""

    kind = "CudaError"


ENDS_A_PROCESS = (Crash.kind, Hang.kind, CudaError.kind)
"""What can be run again in a process of its own alone."""


class Unreproducible(Failure):
    """A failure that the same case did not show again in processes of their own; a class for each kind that was seen once."""

    kind = "Unreproducible"


def unreproducible(failure: Failure, finding: str) -> Unreproducible:
    """What a failure is that was seen once."""
    return _unreproducible_class(failure.kind)(failure.case, failure.target, finding, failure.mismatch)


@functools.cache
def _unreproducible_class(kind: str) -> type[Unreproducible]:
    return type("_".join(["Unreproducible", *kind.split()]), (Unreproducible,), {"kind": f"Unreproducible {kind}"})


def ends_a_process(kind: str) -> bool:
    """Whether a failure of this kind, NotRefused or seen once, is shown again in a process of its own alone."""
    return any(word in ENDS_A_PROCESS for word in kind.split())


class Misuse(Failure):
    """What the sanitizer saw a kernel do with memory; a class of its own for each kind, kernel and argument."""

    kind = "Misuse"


MISUSES = ("OutOfBounds", "UninitialisedRead", "Race", "NotWritten")
"""The kinds of ``Misuse``, the worst first; NotWritten is also said of a result."""


def misuse(case: Case, target: str, kind: str, argument: str, finding: str) -> Misuse:
    """The failure that a finding of the sanitizer is; ``argument`` as kernel.argument."""
    return _misuse_class(kind, argument)(case, target, finding)


def is_misuse(kind: str) -> bool:
    """Whether the sanitizer alone sees failures of a kind, NotRefused or not."""
    of, _, argument = kind.removeprefix(f"{NotRefused.kind} ").partition(" ")
    return of in MISUSES and bool(argument)


@functools.cache
def _misuse_class(kind: str, argument: str) -> type[Misuse]:
    return type(f"{kind}_{argument}", (Misuse,), {"kind": f"{kind} {argument}"})


class ReadOutside(Failure):
    """A load from beyond the end of an allocation or from before its start; seen under Triton's interpreter."""

    kind = "ReadOutside"


def _one_for_each(tensors: Iterable[str], kind: str, meaning: str) -> dict[str, type[Failure]]:
    return {tensor: type(f"{kind}_{tensor}", (Failure,), {"kind": kind, "tensor": tensor, "__doc__": meaning}) for tensor in tensors}


INPUT_MODIFIED = _one_for_each(INPUTS, "InputModified", "An input holds other bits after the call.")
WRONG_SHAPE = _one_for_each(PASS_OF, "WrongShape", "Another shape or dtype than the contract's.")
GRAD_MISSING = _one_for_each(PASS_OF, "GradMissing", "An input that requires grad was left without one.")
NOT_WRITTEN = _one_for_each(PASS_OF, "NotWritten", "Elements still hold what the memory held before the call.")
NON_FINITE = _one_for_each(PASS_OF, "NonFinite", "NaN or infinity where every right result is finite.")
WRONG_VALUE = _one_for_each(PASS_OF, "WrongValue", "A finite number that no right computation gives.")
NON_DETERMINISTIC = _one_for_each(PASS_OF, "NonDeterministic", "Other bits from the same call.")
BROKEN_RELATION = _one_for_each(PASS_OF, "BrokenRelation", "Other bits from a call that must give the same.")


def revived(name: str, kind: str, tensor: str | None, *fields: Any) -> Failure:
    """A failure that another process found: the name of its class, its kind and tensor, and what it is made of."""
    of, _, rest = kind.partition(" ")
    if of == NotRefused.kind:
        return _not_refused_class(rest, tensor)(*fields)
    if of == Raised.kind:
        return _raised_class(rest)(*fields)
    if of == Unreproducible.kind and rest:
        return _unreproducible_class(rest)(*fields)
    if of in MISUSES and rest:
        return _misuse_class(of, rest)(*fields)
    return next(made for made in Failure.__subclasses__() if made.__name__ == name)(*fields)
