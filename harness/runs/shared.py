"""Examples that runs share through a Hypothesis database: what met something new, and what failed, by target and regime.

An explorer that begins takes some of them up first. The database is Hypothesis' own below its home, or any other; it is a cache, and no
archive: its entries fit the strategies that made them, and what does not fit any more is passed by.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from hypothesis.database import ExampleDatabase

MOST = 100
"""So many examples of a regime are taken up."""


class SharedExamples(ExampleDatabase):
    """The examples of one regime of a target, whatever the test; Hypothesis may read them, and does not delete what does not fail."""

    def __init__(self, database: ExampleDatabase, target: str, regime: str) -> None:
        self.database, self.key = database, f"moefuzz {target} {regime}".encode()

    def keep(self, choices: bytes) -> None:
        """Share an example."""
        self.database.save(self.key, choices)

    def fetch(self, key: bytes) -> Iterable[bytes]:
        if key.endswith((b".secondary", b".pareto")):
            return ()
        return itertools.islice(self.database.fetch(self.key), MOST)

    def save(self, key: bytes, value: bytes) -> None:
        pass

    def delete(self, key: bytes, value: bytes) -> None:
        pass
