"""A failure as text: the case as an expression to paste, what disagrees, the worst element, how many are wrong, and where."""

from __future__ import annotations

import shlex
from typing import ClassVar, Protocol

from moefuzz.harness.base.case import Case
from moefuzz.harness.base.contract import passes

from .facts import Mismatch, Origin
from .kinds import Kind


class Described(Protocol):
    """The attributes from which the text of a failure is made."""

    kind: ClassVar[Kind]
    tensor: ClassVar[str | None]
    case: Case
    target: str
    finding: str
    mismatch: Mismatch | None
    origin: Origin | None


def render(failure: Described) -> str:
    """Return the text of a failure; its case and its command can be pasted."""
    lines = [f"{failure.kind}: {failure.finding} ({failure.target})", f"    case      {failure.case!r}"]
    if failure.mismatch is not None:
        lines += _mismatch(failure.mismatch, failure.tensor)
    if failure.origin is not None:
        lines.append(f"    memory    {failure.origin.guards}")
    lines.append(f"    replay    {replay_line(failure)}")
    return "\n".join(lines)


def replay_line(failure: Described) -> str:
    """Return the command that runs the case of a failure again, or why there is none."""
    if failure.origin is not None and not failure.origin.has_name:
        why = "is no name, such as pkg.mod:attr, by which a command finds this target as it is declared"
        return f"check({failure.case!r}, TARGET): {failure.target!r} {why}"
    apart = "--isolate " if failure.kind.ends_a_process else "--sanitize " if failure.kind.is_misuse else ""
    return f'moefuzz replay {apart}--target {shlex.quote(failure.target)} "{failure.case!r}"'


def _mismatch(m: Mismatch, tensor: str | None) -> list[str]:
    place = ", ".join(f"{axis} {index}" for axis, index in zip(m.axes, m.worst, strict=True))
    box = ", ".join(f"{axis} {_range(span)}" for axis, span in zip(m.axes, m.box, strict=True))
    tiles = ", ".join(f"{axis} tile {_range(span)}" for axis, span in zip(m.axes, m.tiles, strict=True) if span is not None)
    allowed = f"exactly {m.low:.9g}" if m.bound == 0 else f"from {m.low:.9g} to {m.high:.9g} (reference {m.expected:.9g})"
    return [
        *([f"    tensor    {tensor}, {passes()[tensor]} pass"] if tensor else []),
        f"    worst     {place}: got {m.got:.9g}, expected {allowed}",
        f"    bound     {m.bound:.3g}" + (": every order of accumulation gives this number" if m.bound == 0 else " on the accumulation"),
        f"    wrong     {m.wrong} of {m.total} elements",
        f"    within    {box}" + (f"; {tiles}" if tiles else ""),
    ]


def _range(span: tuple[int, int]) -> str:
    low, high = span
    return str(low) if low == high else f"{low}..{high}"
