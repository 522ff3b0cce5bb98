"""Kinds of failure as values: a closed list, with one function to text and one back."""

from __future__ import annotations

from dataclasses import dataclass

ENDS_A_PROCESS = ("Crash", "Hang", "CudaError")
"""The kinds that end the process of the target, or make it unusable."""

MISUSES = ("OutOfBounds", "UninitialisedRead", "Race", "NotWritten")
"""The misuses of an argument by a kernel that the sanitizer finds, the worst first; NotWritten is also a failure of a result."""

OF_INPUTS = ("InputModified",)
OF_RESULTS = ("WrongShape", "GradMissing", "NotWritten", "NonFinite", "WrongValue", "NonDeterministic", "BrokenRelation")
BASES = (
    "Failure",
    "Raised",
    "WrongRouting",
    "WroteOutside",
    "ReadOutside",
    "ThreadLeft",
    *ENDS_A_PROCESS,
    *OF_INPUTS,
    *OF_RESULTS,
    *MISUSES[:-1],
)
"""Every kind; Failure is a failure of no particular kind."""


@dataclass(frozen=True)
class Kind:
    """The kind of a failure: a base, a detail, and how the failure occurred. Raises ValueError where these form no kind.

    >>> str(Kind("Raised", "ValueError", not_refused=True)), Kind.read("Unreproducible Crash")
    ('NotRefused Raised ValueError', Kind(base='Crash', detail='', not_refused=False, unreproducible=True))
    """

    base: str  # one of BASES
    detail: str = ""  # of Raised: the type of the exception; of a misuse: kernel.argument
    not_refused: bool = False  # on a case outside the declaration
    unreproducible: bool = False  # the same case did not fail so again

    def __post_init__(self) -> None:
        printable = "".join(letter if letter.isprintable() else " " for letter in self.detail)
        object.__setattr__(self, "detail", " ".join(printable.split()))  # the name of a class may hold any characters
        lacks_detail = self.base in MISUSES and self.base not in OF_RESULTS and not self.detail
        if self.base not in BASES or lacks_detail or (self.detail and self.base not in ("Raised", *MISUSES)):
            raise ValueError(f"{str(self)!r:.100} is no kind of failure that this version of moefuzz knows")

    def __str__(self) -> str:
        words = ("Unreproducible" * self.unreproducible, "NotRefused" * self.not_refused, self.base, self.detail)
        return " ".join(filter(None, words))

    @classmethod
    def read(cls, text: object) -> Kind:
        """Return the kind that a text names. Raises ValueError."""
        if not isinstance(text, str):
            raise ValueError(f"a kind of failure must be a text, got {text!r:.100}")
        once, rest = _without("Unreproducible ", text)
        not_refused, rest = _without("NotRefused ", rest)
        base, _, detail = rest.partition(" ")
        return cls(base, detail, not_refused, once)

    @property
    def ends_a_process(self) -> bool:
        """Whether a failure of this kind can be shown again only in a worker."""
        return self.base in ENDS_A_PROCESS

    @property
    def is_misuse(self) -> bool:
        """Whether only the sanitizer finds a failure of this kind."""
        return self.base in MISUSES and bool(self.detail)


def titled(kind: Kind | str, tensor: str | None) -> str:
    """Return the title of a failure.

    >>> titled("WrongValue", "dW"), titled(Kind("Crash"), None)
    ('WrongValue of dW', 'Crash')
    """
    return f"{kind} of {tensor}" if tensor else str(kind)


def _without(word: str, text: str) -> tuple[bool, str]:
    return text.startswith(word), text.removeprefix(word)
