"""Coverage of a run: the labels of the cases' fields, including those that no case had."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from moefuzz.harness.base.contract import contracts
from moefuzz.harness.run_log.state import RunState

TITLES = {"experts": "Experts", "topk": "Experts per token", "loads": "Loads", "dtype": "dtype", "permute": "Permutation", "data": "Data"}
TITLES |= {"config": "Kernel configuration", "M": "Rows of an expert", "N": "N", "K": "K"}
SIZES = ("M", "N", "K")
"""The fields whose labels are remainders of tiles; the page shows them side by side."""
_ORDER = ("experts", "topk", "loads", "dtype", "permute", "data", "config")


@dataclass(frozen=True)
class Label:
    """A label, how many examples had it, and that number as a share of the most frequent label's."""

    name: str
    examples: int
    share: float


@dataclass(frozen=True)
class Field:
    """A field and its labels, in a natural order."""

    name: str
    labels: tuple[Label, ...]

    @property
    def title(self) -> str:
        return TITLES.get(self.name, self.name)

    @property
    def never(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels if not label.examples)


@dataclass(frozen=True)
class Remainders:
    """A table of remainder labels by size."""

    sizes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Label, ...]], ...]


def coverage_of(state: RunState) -> list[Field]:
    """Return the fields other than sizes, the important ones first."""
    names = dict.fromkeys([*(name for name in _ORDER if name in state.covered), *sorted(state.covered)])
    return [_field(state, name) for name in names if name not in SIZES and state.covered[name]]


def remainders_of(state: RunState) -> Remainders | None:
    """Return the table of M, N and K by their remainder of a tile; None if no example has these sizes."""
    fields = {name: _field(state, name) for name in SIZES if name in state.covered}
    if not fields:
        return None
    names = dict.fromkeys(label.name for field in fields.values() for label in field.labels)
    by_size = {size: {label.name: label for label in field.labels} for size, field in fields.items()}
    rows = [(name, tuple(by_size[size].get(name, Label(name, 0, 0.0)) for size in fields)) for name in names]
    return Remainders(tuple(TITLES[size] for size in fields), tuple(rows))


def _values(name: str) -> tuple[str, ...]:
    """Return the values that a field can have in a case of any level, if it is one of those that reports explain."""
    kinds = [contract.case for contract in contracts()]
    values = (value for kind in kinds if name in kind.explained for value in kind.choices.get(name, ()))
    return tuple(dict.fromkeys(value for value in values if isinstance(value, str)))


def _field(state: RunState, name: str) -> Field:
    met: Counter[str] = state.covered[name]
    could = dict(state.info.labels).get(name, _values(name))
    most = max(met.values(), default=0) or 1
    return Field(name, tuple(Label(label, met[label], met[label] / most) for label in _in_order(met, could)))


def _in_order(met: Counter[str], could: tuple[str, ...]) -> list[str]:
    """Return labels in order: known ones as listed, then numbers by size, then others by frequency.

    >>> _in_order(Counter({"9-16": 5, "2": 3, "17+": 1}), ()), _in_order(Counter({"b": 5, "c": 1, "d": 9}), ("c", "a"))
    (['2', '9-16', '17+'], ['c', 'a', 'd', 'b'])
    """
    others = [label for label in met if label not in could]
    if all(re.match(r"\d", label) for label in others):
        others.sort(key=lambda label: tuple(int(number) for number in re.findall(r"\d{1,18}", label)))
    else:
        others.sort(key=lambda label: -met[label])
    return [*could, *others]
