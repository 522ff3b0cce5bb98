"""Examples that runs share through a Hypothesis database: those that covered a new label and those that failed, by target and regime.

An explorer starts with some of them. The database is Hypothesis' default one or any other. It is a cache and not an archive: an entry fits
only the strategy that drew it, and is skipped once that strategy has changed.
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
"""The largest number of shared examples that an explorer starts a regime with."""


KEPT = dt.timedelta(days=90)
"""How long Redis keeps an example that is not saved again."""


class CannotShare(Exception):
    """Raised for a Redis server that cannot be used; the text is one line."""


def database_of(url: str, *, now: bool = False) -> ExampleDatabase | None:
    """Return Hypothesis' default database; with a URL, joined with that Redis server, so that shared examples are also kept locally.

    Raises CannotShare if the URL is not one of a Redis server, and with ``now`` if the server does not answer. A server that stops
    answering later is skipped until it answers again.
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
    """A database on a server; an operation that the server fails at is skipped, since it says nothing about a kernel."""

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
    """The shared examples of one regime of a target, for any test; Hypothesis can read them, but neither saves nor deletes any."""

    def __init__(self, database: ExampleDatabase, target: str, regime: str) -> None:
        self.database, self.key = database, f"moefuzz {target} {regime}".encode()

    def keep(self, choices: bytes) -> None:
        """Save an example, as its choices."""
        self.database.save(self.key, choices)

    def fetch(self, key: bytes) -> Iterable[bytes]:
        if not is_primary(key):
            return ()
        return itertools.islice(self.database.fetch(self.key), MOST)

    def save(self, key: bytes, value: bytes) -> None:
        pass

    def delete(self, key: bytes, value: bytes) -> None:
        pass
