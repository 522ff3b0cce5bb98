"""Write the folder of a report; ``folder.py`` describes its files."""

from __future__ import annotations

import dataclasses
import functools
import json
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moefuzz.harness.base.contract import passes
from moefuzz.harness.base.device import describe
from moefuzz.harness.base.versions import versions
from moefuzz.harness.failures import Failure, Hang
from moefuzz.harness.levels.level import NoScript
from moefuzz.harness.reduction.explain import Explanation, explain, in_words
from moefuzz.harness.targets import Target
from moefuzz.harness.targets.registry import load_target
from moefuzz.harness.verdict.check import failure_of
from moefuzz.harness.verdict.checked import checked_of
from moefuzz.harness.verdict.isolation import isolation_for

from .folder import FORMAT_VERSION, id_of
from .picture import draw
from .script import TEMPLATES, Script, script, shows
from .tensor_errors import examine

_MOST_LINES = 60  # of a stack, on the page


def write(failure: Failure, target: Target, into: Path, explanation: Explanation | None = None, *, unrun: bool = False) -> Path:
    """Explain a failure if it has no ``explanation``, write its folder, run its script, and return the folder; with ``unrun``, only write.

    Raises OSError.
    """
    if explanation is None:
        # Each attempt at a hang takes the whole time limit, and a hang may be mere slowness.
        quick = unrun or isinstance(failure, Hang)
        explanation = Explanation() if quick else explain(failure, functools.partial(failure_of, target=target), target)
    without = explanation.irrelevant
    folder = into / id_of(failure, without)
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=into, ignore_cleanup_errors=True) as whole_or_not_at_all:
        new = Path(whole_or_not_at_all, folder.name)
        new.mkdir()
        _fill(new, failure, target, explanation, unrun=unrun)
        if folder.exists():
            folder.rename(Path(whole_or_not_at_all, "old"))
        new.rename(folder)
    return folder


def _fill(folder: Path, failure: Failure, target: Target, explanation: Explanation, *, unrun: bool) -> None:
    """Write all files of a report."""
    without = explanation.irrelevant
    _write(folder / "case.json", json.dumps(_as_json(failure, without), indent=1) + "\n")
    _write(folder / "region.json", json.dumps(explanation.region.plain()) + "\n")
    log = "".join(getattr(failure, "__notes__", []) or (traceback.format_exception(failure.__cause__) if failure.__cause__ else []))
    if log:
        _write(folder / "log.txt", log)
    seen = None if unrun or failure.kind.ends_a_process else examine(failure, target)
    if seen is not None and seen.picture is not None:
        draw(seen.picture, folder / "mismatch.png")
    no_script = shown = file = ""
    try:
        file, home = _write_script(failure, target, folder, unrun=unrun)
        shown = "" if unrun else shows(folder / "reproduce.py", failure, home)
    except NoScript as reason:
        no_script = str(reason)
    page = TEMPLATES.get_template("report.md.jinja").render(
        title=f"{failure.title} in {failure.target}",
        finding=failure.finding, text=str(failure).replace("`" * 3, "'" * 3),
        without=in_words(without, failure.case), needs=explanation.region.in_words(), tried=explanation.tried,
        seen=seen, no_script=no_script, shown=shown, file=file, unrun=unrun,
        passes=passes(), ends=failure.kind.ends_a_process, device=_device_of(failure), versions=_versions_of(failure),
        log=log.replace("`" * 3, "'" * 3).splitlines()[-_MOST_LINES:] if failure.kind.ends_a_process else [],
    )  # fmt: skip
    _write(folder / "report.md", page)


def _write_script(failure: Failure, target: Target, folder: Path, *, unrun: bool) -> tuple[str, Path | None]:
    """Write the script; return the target's file and its home. Raises NoScript.

    If the calls of a relation were made in a worker process, they are made there again.
    """
    runs_target = bool(failure.case.relation) and not failure.kind.ends_a_process and not unrun and checked_of(failure) is None
    isolation = isolation_for(target) if runs_target else None
    if isolation is None:
        return _written(script(failure, target, unrun=unrun), folder)
    answer = isolation.run_in_worker(_script_by_name, failure, target.name, folder)
    if answer is None:
        raise NoScript("the target ended its process while the script was made")
    if isinstance(answer, str):
        raise NoScript(answer)
    return answer


def _script_by_name(failure: Failure, spec: str, folder: Path) -> tuple[str, Path | None] | str:
    """Write the script, in a worker process; return what ``_written`` does, or why there is no script."""
    try:
        return _written(script(failure, load_target(spec)), folder)
    except NoScript as reason:
        return str(reason)


def _written(made: Script, folder: Path) -> tuple[str, Path | None]:
    made.write(folder)
    return made.file, made.home


def _as_json(failure: Failure, without: Sequence[str]) -> dict[str, Any]:
    mismatch = None if failure.mismatch is None else {name: _finite(value) for name, value in dataclasses.asdict(failure.mismatch).items()}
    return {
        "format": FORMAT_VERSION,
        "id": id_of(failure, without),
        "target": failure.target,
        "kind": str(failure.kind),
        "tensor": failure.tensor,
        "finding": failure.finding,
        "case": json.loads(failure.case.to_json()),
        "irrelevant": list(without),
        "mismatch": mismatch,
        "device": _device_of(failure),
        "versions": _versions_of(failure),
        "guards": failure.origin and failure.origin.guards,
        "has_name": failure.origin and failure.origin.has_name,
    }


def _device_of(failure: Failure) -> str:
    return describe() if failure.origin is None else failure.origin.device


def _versions_of(failure: Failure) -> str:
    return versions() if failure.origin is None else failure.origin.versions


def _finite(value: Any) -> Any:
    """Return NaN and infinity as texts, since JSON has neither; any other value unchanged."""
    return str(value) if isinstance(value, float) and value - value != 0 else value


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
