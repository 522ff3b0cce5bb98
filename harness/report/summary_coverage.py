"""What a run reached of what it could have: labels of the cases' fields, with those that were never met."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from moefuzz.harness.base.contract import contracts
from moefuzz.harness.run_log.state import RunState

TITLES = {"experts": "Experts", "topk": "Experts per token", "loads": "Loads", "dtype": "dtype", "permute": "Permutation", "data": "Data"}
TITLES |= {"config": "Kernel configuration", "M": "Rows of an expert", "N": "N", "K": "K"}
SIZES = ("M", "N", "K")
"""The fields whose labels are remainders of tiles, and stand side by side."""
_ORDER = ("experts", "topk", "loads", "dtype", "permute", "data", "config")


@dataclass(frozen=True)
class Label:
    """How many examples had it, and their share of the most frequent one's."""

    name: str
    examples: int
    share: float


@dataclass(frozen=True)
class Field:
    """A field and its labels, in an order that a person expects."""

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
    """A table of labels by sizes."""

    sizes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Label, ...]], ...]


def coverage_of(state: RunState) -> list[Field]:
    """The fields whose labels stand by themselves, the important ones first."""
    names = dict.fromkeys([*(name for name in _ORDER if name in state.covered), *sorted(state.covered)])
    return [_field(state, name) for name in names if name not in SIZES and state.covered[name]]


def remainders_of(state: RunState) -> Remainders | None:
    """M, N and K by how much remains of a tile; None where no example told."""
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
    """Known labels as they are listed, numbers by size, others by how often they were met.

    >>> _in_order(Counter({"9-16": 5, "2": 3, "17+": 1}), ()), _in_order(Counter({"b": 5, "c": 1, "d": 9}), ("c", "a"))
    (['2', '9-16', '17+'], ['c', 'a', 'd', 'b'])
    """
    others = [label for label in met if label not in could]
    if all(re.match(r"\d", label) for label in others):
        others.sort(key=lambda label: tuple(int(number) for number in re.findall(r"\d{1,18}", label)))
    else:
        others.sort(key=lambda label: -met[label])
    return [*could, *others]
