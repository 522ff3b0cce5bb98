"""Select the regimes that ``--regime`` names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from moefuzz.harness.targets import Target

from .explore import Regimes


class NoSuchRegime(Exception):
    """Raised for a regime name that no target has; the text is one line."""


def chosen_regimes(wanted: Sequence[str], regimes: Regimes, targets: Sequence[Target]) -> Regimes:
    """Return the regimes with the wanted names, or all of them if ``wanted`` is empty. Raises NoSuchRegime.

    "tile edge" may be written tile-edge. A name matches at every level: "any" selects "any experts" too.
    """
    if not wanted:
        return regimes
    known = [name for level in dict.fromkeys(target.level for target in targets) for name in regimes[level]]
    for text in wanted:
        if not any(_is_called(name, text) for name in known):
            near = difflib.get_close_matches(_plain(text), known, 1)
            instead = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise NoSuchRegime(f"there is no regime {text!r} here; {instead}")
    chosen = {level: {name: of[name] for name in of if any(_is_called(name, text) for text in wanted)} for level, of in regimes.items()}
    if not any(regime(target) is not None for target in targets for regime in chosen[target.level].values()):
        names = " or ".join(repr(target.name) for target in targets)
        raise NoSuchRegime(f"target {names} declares no case of {', '.join(wanted)}")
    return chosen


def _is_called(name: str, text: str) -> bool:
    return _plain(text) in (name, name.removesuffix(" experts").removesuffix(" block"))


def _plain(text: str) -> str:
    return " ".join(text.lower().replace("-", " ").replace("_", " ").split())
