"""A run as JUnit XML, written with junitparser: a testsuite for each target, a testcase for each regime.

Jenkins shows one failure of a testcase, and the schema of Ant allows no more, so each further failure of a regime has its own testcase,
"far (2)". A regime without an example is skipped. A run that did not end normally is an error, in a testsuite "moefuzz".
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from moefuzz.harness.base.text import printable, several
from moefuzz.harness.run_log.outcome import RegimeCount, ReportedFailure, RunOutcome

from .texts import report_page, verdict, whole_text


def document(outcome: RunOutcome) -> str:
    """Return the outcome as one XML document; ``time`` is in seconds."""
    xml = JUnitXml("moefuzz fuzz")
    for target in _targets(outcome):
        xml.append(_suite(outcome, printable(target), list(_cases(outcome, target))))
    if outcome.status not in (0, 1):
        stopped = _case("moefuzz", "the run", outcome.seconds)
        stopped.result = Error(verdict(outcome), f"exit code {outcome.status}")
        xml.append(_suite(outcome, "moefuzz", [stopped]))
    xml.update_statistics()
    written = io.BytesIO()
    xml.write(written)
    return written.getvalue().decode() + "\n"


def _targets(outcome: RunOutcome) -> Iterable[str]:
    named = (one.target for ones in (outcome.regimes, outcome.failures) for one in ones)
    return dict.fromkeys([*outcome.targets, *named, *(target for target, _ in outcome.unreached)])


def _suite(outcome: RunOutcome, name: str, cases: list[TestCase]) -> TestSuite:
    suite = TestSuite(name)
    properties = {"device": outcome.device, "versions": outcome.versions, "seed": outcome.seed, "exit code": outcome.status}
    for named, value in [*properties.items(), *(("note", note) for note in outcome.notes)]:
        suite.add_property(named, printable(str(value)))
    suite.add_testcases(cases)
    return suite


def _cases(outcome: RunOutcome, target: str) -> Iterator[TestCase]:
    """Yield the testcases of a target: regimes in the order in which they ran, then those that only a failure names, then unreached."""
    counts = {regime.regime: regime for regime in outcome.regimes if regime.target == target}
    failures = [failure for failure in outcome.failures if failure.target == target]
    unreached = [regime for of, regime in outcome.unreached if of == target]
    for name in dict.fromkeys([*counts, *(failure.regime for failure in failures), *unreached]):
        yield from _of_regime(target, name, counts.get(name), [failure for failure in failures if failure.regime == name])


def _of_regime(target: str, name: str, count: RegimeCount | None, failures: Sequence[ReportedFailure]) -> Iterator[TestCase]:
    case = _case(target, name, count.seconds if count else 0.0)
    if not failures:
        if not (count and count.examples):
            case.result = Skipped("no example ran" if count else "there was no time for it")
        yield _with_output(case, count, "")
    for number, failure in enumerate(failures, 1):
        case = case if number == 1 else _case(target, f"{name} ({number})", 0.0)
        case.result = _failed(failure)
        yield _with_output(case, count, report_page(failure))


def _with_output(case: TestCase, count: RegimeCount | None, page: str) -> TestCase:
    """Add the counts of the regime and the path of the report to a testcase, after its result as the schema demands; return it."""
    said = [_counted(count) if count else "", f"report    {page}" if page else ""]
    if any(said):
        case.system_out = "\n".join(filter(None, said))
    return case


def _case(target: str, name: str, seconds: float) -> TestCase:
    """Return a testcase. Jenkins takes the part of a classname before its last point as the package."""
    return TestCase(printable(name), printable(target.replace(":", ".")), round(seconds, 3))


def _failed(failure: ReportedFailure) -> Failure:
    element = Failure(printable(failure.finding), printable(failure.kind))
    element.text = whole_text(failure)
    return element


def _counted(count: RegimeCount) -> str:
    others = {name: getattr(count, name) for name in ("failing", "known", "refused", "no_room")}
    parts = [f"{number:,} {name.replace('_', ' ')}" for name, number in others.items() if number]
    used = f"\nbound     {count.share:.1%} used by {printable(count.share_tensor)}" if count.share_tensor else ""
    return ", ".join([several(count.examples, "example"), *parts]) + used
