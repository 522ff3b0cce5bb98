"""Texts of a run, made safe for a terminal, a log and XML, since exceptions and names come from a target."""

from __future__ import annotations

from moefuzz.harness.base.text import printable, several
from moefuzz.harness.run_log.outcome import ReportedFailure, RunOutcome

_ENDINGS = {
    2: "wrong usage",
    3: "stopped, since no more cases can run",
    4: "stopped by an internal error of moefuzz",
    5: "no example ran",
    130: "interrupted",
}
"""How a run ended, by exit code."""


def lines(text: str) -> str:
    """Return a text with each of its lines made printable."""
    return "\n".join(map(printable, text.splitlines()))


def headline(failure: ReportedFailure) -> str:
    """Return the title of a failure, as "WrongValue of Y in mine:kernel"."""
    return printable(f"{failure.kind}{f' of {failure.tensor}' if failure.tensor else ''} in {failure.target}")


def report_page(failure: ReportedFailure) -> str:
    """Return the path of the page of its report; "" if no report was written."""
    return printable(f"{failure.report}/report.md") if failure.report else ""


def whole_text(failure: ReportedFailure) -> str:
    """Return the text of a failure with the command that runs its case again."""
    replay = "" if failure.replay in failure.text else f"\n    replay    {failure.replay}"
    unfinished = "" if failure.minimised else "\n    not minimised to the end"
    return lines(failure.text + replay + unfinished)


def clean(outcome: RunOutcome) -> bool:
    """Return whether the run ended normally without any failing example, reported or not."""
    return outcome.status == 0 and not outcome.failures and not any(regime.failing for regime in outcome.regimes)


def verdict(outcome: RunOutcome) -> str:
    """Return the outcome of a run in one line. It is never "nothing found" if the run was stopped or an example failed."""
    said = []
    if outcome.failures:
        said.append(several(len(outcome.failures), "failure"))
    elif failing := sum(regime.failing for regime in outcome.regimes):
        said.append(f"{several(failing, 'failing example')} without a report")
    elif outcome.status == 0:
        said.append("nothing found")
    if outcome.status not in (0, 1) or not said:
        said.append(_ENDINGS.get(outcome.status, f"exit code {outcome.status}"))
    return printable(
        f"{', '.join(said)}; {several(outcome.examples, 'example')} of {' and '.join(outcome.targets)} in {outcome.seconds:.0f} s"
    )
