"""The findings of the sanitizer: a value for each distinct misuse of memory."""

from __future__ import annotations

import linecache
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from moefuzz.kernels.triton_interpreter.accesses import Line, Program

Kind = Literal["OutOfBounds", "UninitialisedRead", "Race", "NotWritten", "WrittenTwice"]


@dataclass(frozen=True)
class Finding:
    """One misuse, at the first place where it was found; ``count`` lanes or elements share lines and argument."""

    kind: Kind
    kernel: str
    what: str  # "load of", "store to", "atomic on", "a masked lane without other= ..."
    argument: str
    element: tuple[int, ...] | None  # index into the argument, None outside of it
    shape: tuple[int, ...] = ()  # of the argument
    where: str = ""  # a place without an index: "3 elements behind x_ptr"
    file: str = ""
    line: int = 0
    source: str = ""  # the line's text
    program: Program | None = None
    other_what: str = ""  # what the other program of a race did, or the earlier of two stores
    other_line: int | None = None
    other_source: str = ""
    other_program: Program | None = None
    changes_result: bool | None = None  # of a race: whether the programs in reverse order store other bytes; None if not tried
    count: int = 1

    @property
    def key(self) -> tuple[object, ...]:
        """The key by which findings are deduplicated."""
        return self.kind, self.kernel, self.file, self.line, self.other_line, self.argument, self.what

    def __str__(self) -> str:
        """Return two to four lines for the author of a kernel."""
        place = self.where or f"{self.argument}[{', '.join(map(str, self.element or ()))}]"
        program = f", program {_short(self.program)}" if self.program else ""
        line = f", line {self.line}" if self.line else ""
        lines = [
            f"{self.kind} in {self.kernel}{line}{program}: {self.what} {place}"
            + (f" ({self.count} elements in all)" if self.count > 1 else "")
        ]
        if self.line:
            lines.append(f"    {Path(self.file).name}:{self.line}: {self.source}")
        if self.other_line is not None:
            lines.append(
                f"    against the {self.other_what} of program {_short(self.other_program)}, line {self.other_line}: {self.other_source}"
            )
        if self.kind == "Race":
            lines.append(f"    {_ORDER[self.changes_result]}")
        return "\n".join(lines)

    def and_again(self, other: Finding) -> Finding:
        """Return the finding with the count of an equal one added."""
        return replace(self, count=self.count + other.count, changes_result=self.changes_result or other.changes_result)


_ORDER = {
    True: "the programs in reverse order store another result",
    False: "the programs in reverse order store the same result; those that run at the same time may not",
    None: "the programs could not be run in reverse order",
}


def source_of(line: Line) -> str:
    """Return the text of a line, empty where there is no source."""
    return linecache.getline(line.file, line.number).strip()


def _short(program: Program | None) -> str:
    """Return a program as text, without the axes that the grid does not have.

    >>> _short((3, 0, 0)), _short((0, 2, 0)), _short((1, 0, 4))
    ('3', '(0, 2)', '(1, 0, 4)')
    """
    x, y, z = program or (0, 0, 0)
    return str((x, y, z)) if z else str((x, y)) if y else str(x)
