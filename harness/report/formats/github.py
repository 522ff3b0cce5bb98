"""A run for GitHub Actions: workflow commands for the log of a job, and a page of Markdown for the summary of its step.

GitHub shows ten errors of a step; the page has the others. In the log, a line that begins with "::" or contains "##[" is a command; text
from a target must not become one. In the page such text is escaped by character references or stands in a fence, so that it is no markup.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from moefuzz.harness.base.text import printable, several
from moefuzz.harness.run_log.outcome import RegimeCount, ReportedFailure, RunOutcome

from .places import place_of
from .texts import clean, headline, report_page, verdict, whole_text

LIMIT = 1_000_000  # bytes; GitHub drops a summary of 1 MiB and some that are slightly smaller


def commands(outcome: RunOutcome) -> str:
    """Return workflow commands: for each failure a group with its text and an error; then a line for the run."""
    said = [line for failure in outcome.failures for line in _of_failure(failure)]
    said += [_command("notice", printable(note), title="moefuzz") for note in outcome.notes]
    if clean(outcome):
        said.append(_command("notice", verdict(outcome), title="moefuzz"))
    elif not outcome.failures or outcome.status not in (0, 1):
        said.append(_command("error", verdict(outcome), title="moefuzz"))
    else:
        said.append(_no_command(verdict(outcome)))
    return "\n".join(said) + "\n"


def _of_failure(failure: ReportedFailure) -> Iterator[str]:
    yield _command("group", headline(failure))
    yield _no_command(whole_text(failure))
    if page := report_page(failure):
        yield _no_command(f"    report    {page}")
    yield _command("endgroup", "")
    place = place_of(failure.target)
    at = {"file": printable(place.path), "line": str(place.line)} if place else {}
    parts = (failure.finding, f"case: {failure.case}", f"replay: {failure.replay}")
    yield _command("error", "\n".join(map(printable, parts)), **at, title=headline(failure))


def _command(name: str, message: str, **properties: str) -> str:
    """Return a workflow command; "%" is escaped first, since the other escapes contain it."""
    escaped = message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    said = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{name}{' ' if said else ''}{said}::{escaped}"


def _property(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A").replace(":", "%3A").replace(",", "%2C")


def _no_command(text: str) -> str:
    """Return the text changed so that the runner prints each line and does not take it for a command."""
    return re.sub(r"^(\s*):(?=:)", r"\1: ", text, flags=re.MULTILINE).replace("##[", "## [")


def append_step_summary(outcome: RunOutcome) -> None:
    """Append the page to the file that GITHUB_STEP_SUMMARY names, if it is set. Raises OSError."""
    if not (name := os.environ.get("GITHUB_STEP_SUMMARY")):
        return
    with Path(name).open("a", encoding="utf-8") as file:
        file.write(step_summary(outcome, LIMIT - file.tell()))


def step_summary(outcome: RunOutcome, limit: int = LIMIT) -> str:
    """Return a page of Markdown of at most ``limit`` bytes in UTF-8: the verdict, each failure, and the counts of each regime."""
    blocks = [f"## moefuzz: {_plain(verdict(outcome))}", f"{_code(outcome.device)}, {_code(outcome.versions)}, seed {outcome.seed}"]
    tail = [*_tables(outcome.regimes), *_unreached(outcome), *(f"- {_plain(printable(note))}" for note in outcome.notes)]
    failures = [_section(failure) for failure in outcome.failures]
    return _within(limit, [*blocks, *failures, *tail])


def _within(limit: int, blocks: Iterable[str]) -> str:
    """Return the blocks that fit, an empty line after each, and a remark if any is missing."""
    remark = "More did not fit into this page.\n"
    kept, room, missing = [], limit - len(remark), False
    for block in blocks:
        size = len(block.encode()) + 2
        missing |= size > room
        if size <= room:
            kept.append(f"{block}\n\n")
            room -= size
    return "".join(kept) + remark * (missing and limit >= len(remark))


def _section(failure: ReportedFailure) -> str:
    text = whole_text(failure)
    fence = "`" * (1 + max(map(len, re.findall("`+", f"{text} ``"))))
    found = f"in regime {_plain(printable(failure.regime))}, after {several(failure.examples, 'example')} and {failure.seconds:.1f} s"
    page = report_page(failure)
    report = f", report in {_code(page)}" if page else ""
    return (
        f"### {_plain(headline(failure))}\n\n{_code(failure.finding)}\n\nCase {_code(failure.case)}, {found}{report}\n\n"
        f"<details><summary>The whole text</summary>\n\n{fence}text\n{text}\n{fence}\n\n</details>"
    )


def _tables(regimes: Iterable[RegimeCount]) -> Iterator[str]:
    """Yield a table for each target."""
    by_target: dict[str, list[RegimeCount]] = {}
    for regime in regimes:
        by_target.setdefault(regime.target, []).append(regime)
    for target, rows in by_target.items():
        header = "| regime | examples | failing | known | refused | no room | s | bound used | by |\n|---|--:|--:|--:|--:|--:|--:|--:|---|"
        yield "\n".join([f"{_code(target)}\n\n{header}", *map(_row, rows)])


def _row(row: RegimeCount) -> str:
    counts = [f"{number:,}" for number in (row.examples, row.failing, row.known, row.refused, row.no_room)]
    texts = [_plain(printable(row.regime)), *counts, f"{row.seconds:.1f}", f"{row.share:.1%}", _plain(printable(row.share_tensor)) or "-"]
    return f"| {' | '.join(texts)} |"


def _unreached(outcome: RunOutcome) -> Iterator[str]:
    if outcome.unreached:
        yield f"No time for {', '.join(_plain(printable(f'{regime} of {target}')) for target, regime in outcome.unreached)}."


def _code(text: str) -> str:
    return f"<code>{_plain(printable(text))}</code>"


def _plain(text: str) -> str:
    """Return a text that is no markup: each character that Markdown or HTML could interpret becomes a character reference."""
    return re.sub(r"[^\w\s(),='+-]|_", lambda found: f"&#{ord(found[0])};", text)
