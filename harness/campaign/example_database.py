"""Examples that runs share through a Hypothesis database: what met something new, and what failed, by target and regime.

An explorer that begins takes some of them up first. The database is Hypothesis' own below its home, or any other; it is a cache, and no
archive: its entries fit the strategies that made them, and what does not fit any more is passed by.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable
from typing import Any

from hypothesis import settings
from hypothesis.database import ExampleDatabase, MultiplexedDatabase

from moefuzz.harness.base import hypothesis_profiles
from moefuzz.harness.base.hypothesis_internals import is_primary

MOST = 100
"""So many examples of a regime are taken up."""


KEPT = dt.timedelta(days=90)
"""How long Redis keeps an example that nobody has met again."""


class CannotShare(Exception):
    """A Redis server that cannot be used; the text is one line."""


def database_of(url: str, *, now: bool = False) -> ExampleDatabase | None:
    """Hypothesis' own database, and with a URL a Redis server beside it, so that what is shared is kept here as well.

    Raises CannotShare for what is no Redis server, and where it must answer ``now`` and does not. One that goes away is passed by until it
    is back.
    """
    hypothesis_profiles.register()
    own = settings.get_profile("dev").database
    return MultiplexedDatabase(*filter(None, (own, _redis(url, now=now)))) if url else own


def _redis(url: str, *, now: bool) -> ExampleDatabase:
    try:
        import redis
    except ImportError:
        raise CannotShare("the package redis is not installed: pip install 'moefuzz[redis]'") from None
    try:
        server = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
        if now:
            server.ping()
    except ValueError as error:
        raise CannotShare(f"{url}: {error}") from None
    except redis.RedisError as error:
        raise CannotShare(f"{url} does not answer: {error}".partition("\n")[0]) from None
    from hypothesis.extra.redis import RedisExampleDatabase

    return _WhileItAnswers(RedisExampleDatabase(server, expire_after=KEPT), redis.RedisError)


class _WhileItAnswers(ExampleDatabase):
    """A database on a server: what it does not take or give now is passed by, and is no matter of a kernel."""

    def __init__(self, database: ExampleDatabase, error: type[Exception]) -> None:
        self.database, self.error = database, error

    def _tried(self, function: Any, *arguments: bytes) -> Any:
        try:
            return function(*arguments)
        except self.error:
            return ()

    def fetch(self, key: bytes) -> Iterable[bytes]:
        found: Iterable[bytes] = self._tried(lambda: list(self.database.fetch(key)))
        return found

    def save(self, key: bytes, value: bytes) -> None:
        self._tried(self.database.save, key, value)

    def delete(self, key: bytes, value: bytes) -> None:
        self._tried(self.database.delete, key, value)


class SharedExamples(ExampleDatabase):
    """The examples of one regime of a target, whatever the test; Hypothesis may read them, and does not delete what does not fail."""

    def __init__(self, database: ExampleDatabase, target: str, regime: str) -> None:
        self.database, self.key = database, f"moefuzz {target} {regime}".encode()

    def keep(self, choices: bytes) -> None:
        """Share an example."""
        self.database.save(self.key, choices)

    def fetch(self, key: bytes) -> Iterable[bytes]:
        if not is_primary(key):
            return ()
        return itertools.islice(self.database.fetch(self.key), MOST)

    def save(self, key: bytes, value: bytes) -> None:
        pass

    def delete(self, key: bytes, value: bytes) -> None:
        pass
