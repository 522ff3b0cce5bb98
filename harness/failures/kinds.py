"""Kinds of failure as values: a closed list, with one way to text and one way back."""

from __future__ import annotations

from dataclasses import dataclass

ENDS_A_PROCESS = ("Crash", "Hang", "CudaError")
"""What takes the process of the target along."""

MISUSES = ("OutOfBounds", "UninitialisedRead", "Race", "NotWritten")
"""What the sanitizer sees a kernel do with an argument, the worst first; NotWritten is also a failure of a result."""

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
"""Every kind; Failure is one of no kind in particular."""


@dataclass(frozen=True)
class Kind:
    """What a failure is: a base, what it is about, and how it was met. Raises ValueError for what is no kind.

    >>> str(Kind("Raised", "ValueError", not_refused=True)), Kind.read("Unreproducible Crash")
    ('NotRefused Raised ValueError', Kind(base='Crash', detail='', not_refused=False, unreproducible=True))
    """

    base: str  # one of BASES
    detail: str = ""  # of Raised: the type of the exception; of a misuse: kernel.argument
    not_refused: bool = False  # on a case outside the declaration
    unreproducible: bool = False  # the same case did not show it again

    def __post_init__(self) -> None:
        printable = "".join(letter if letter.isprintable() else " " for letter in self.detail)
        object.__setattr__(self, "detail", " ".join(printable.split()))  # the name of a class may hold anything
        lacks_detail = self.base in MISUSES and self.base not in OF_RESULTS and not self.detail
        if self.base not in BASES or lacks_detail or (self.detail and self.base not in ("Raised", *MISUSES)):
            raise ValueError(f"{str(self)!r:.100} is no kind of failure that this version of moefuzz knows")

    def __str__(self) -> str:
        words = ("Unreproducible" * self.unreproducible, "NotRefused" * self.not_refused, self.base, self.detail)
        return " ".join(filter(None, words))

    @classmethod
    def read(cls, text: object) -> Kind:
        """The kind that a text names. Raises ValueError."""
        if not isinstance(text, str):
            raise ValueError(f"a kind of failure must be a text, got {text!r:.100}")
        once, rest = _without("Unreproducible ", text)
        not_refused, rest = _without("NotRefused ", rest)
        base, _, detail = rest.partition(" ")
        return cls(base, detail, not_refused, once)

    @property
    def ends_a_process(self) -> bool:
        """Whether only a process of its own shows it again."""
        return self.base in ENDS_A_PROCESS

    @property
    def is_misuse(self) -> bool:
        """Whether only the sanitizer sees it."""
        return self.base in MISUSES and bool(self.detail)


def titled(kind: Kind | str, tensor: str | None) -> str:
    """What a failure is called.

    >>> titled("WrongValue", "dW"), titled(Kind("Crash"), None)
    ('WrongValue of dW', 'Crash')
    """
    return f"{kind} of {tensor}" if tensor else str(kind)


def _without(word: str, text: str) -> tuple[bool, str]:
    return text.startswith(word), text.removeprefix(word)
