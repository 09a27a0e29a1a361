"""Readers of a cache that do not wait for each other (an open loop), and what they do about a miss.

One thread and one connection: every few milliseconds what is due goes out in one pipeline, and what the
simulated database has answered by then is written back. A slow machine makes bursts, and loses nothing.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import redis
from msgspec import Struct
from redis.backoff import NoBackoff
from redis.retry import Retry

from diag.lab.cache_stampede._database import QueueingDatabase, SharedDatabase
from diag.lab.process import wait_until

_TICK_S: Final = 0.004
_MOST_AT_ONCE: Final = 400  # reads in one pipeline: more only after a machine that stood still
_SOON_S: Final = 20.0
Database = SharedDatabase["Query"] | QueueingDatabase["Query"]


class Query(Struct, frozen=True):
    """One recomputation that the database was asked for: of which readers, and of which key."""

    readers: int
    key: str


class Readers(Struct, frozen=True, kw_only=True):
    """Reads of some keys, `per_s` of them a second, and what follows a miss.

    `stores` writes what was recomputed (a look-up of what does not exist has nothing to write), with a time to
    live of `ttl_s` (0: for ever). With `lock_s` only who gets the lock recomputes, and the others go without;
    `holder_dies` is how many holders never write. Below `early` of the time to live every reader refreshes.
    `names` makes the keys; `command` is what reads (GET, or EXISTS for a monitor).
    """

    names: Callable[[int], str]
    keys: int = 1
    per_s: float = 300.0
    ttl_s: float = 0.0
    stores: bool = True
    lock_s: float = 0.0
    holder_dies: int = 0
    early: float = 0.0
    command: str = "GET"

    def every_key(self) -> list[str]:
        """Return the names of all keys."""
        return [self.names(number) for number in range(self.keys)]


def shared(query_s: float = 0.12, workers: int = 8) -> Database:
    """Return a database whose queries slow each other down."""
    return SharedDatabase(query_s, workers)


def queueing(query_s: float = 0.12, workers: int = 8) -> Database:
    """Return a database behind a pool of connections."""
    return QueueingDatabase(query_s, workers)


class Load:
    """Some readers on one server, until `stop`."""

    def __init__(self, url: str, readers: Sequence[Readers], database: Database, seed: int) -> None:
        """Begin at once."""
        self.readers = list(readers)
        self.database = database
        self.misses: Counter[str] = Counter()
        self.recomputed: Counter[str] = Counter()
        self._client = client(url)
        self._chance = random.Random(seed)  # noqa: S311  a load, no secret
        self._died = [0] * len(readers)
        self._due = [0.0] * len(readers)
        self._enough = threading.Event()
        self.reads = 0
        self._thread = threading.Thread(target=self._run, name="readers", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._enough.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        last = time.monotonic()
        while not self._enough.wait(_TICK_S):
            now = time.monotonic()
            try:
                self._answered(now)
                for number, readers in enumerate(list(self.readers)):
                    self._due[number] = min(_MOST_AT_ONCE, self._due[number] + readers.per_s * (now - last))
                    count = int(self._due[number])
                    self._due[number] -= count
                    if count:
                        self._read(number, readers, count, now)
            except (redis.ConnectionError, redis.BusyLoadingError):
                self._client.connection_pool.disconnect()  # the server is being restarted: try again
            last = now

    def _read(self, number: int, readers: Readers, count: int, now: float) -> None:
        keys = [readers.names(self._chance.randrange(readers.keys)) for _ in range(count)]
        pipeline = self._client.pipeline(transaction=False)
        look_up = pipeline.exists if readers.command == "EXISTS" else pipeline.get
        for key in keys:
            look_up(key)
        found = pipeline.execute()
        self.reads += count
        if readers.command != "GET":
            return
        lacking = [key for key, value in zip(keys, found, strict=True) if value is None]
        self.misses.update(lacking)
        if readers.early:
            begins = readers.ttl_s * readers.early
            lacking += [key for key, value in zip(keys, found, strict=True) if value and float(value) - now < begins]
        if readers.lock_s and lacking:
            lacking = self._with_lock(number, readers, lacking)
        for key in lacking:
            self.database.ask(now, Query(number, key))

    def _with_lock(self, number: int, readers: Readers, lacking: list[str]) -> list[str]:
        pipeline = self._client.pipeline(transaction=False)
        for key in lacking:
            pipeline.set(f"{key}:lock", "x", nx=True, px=int(readers.lock_s * 1_000))
        got = [key for key, locked in zip(lacking, pipeline.execute(), strict=True) if locked]
        dying = max(0, min(len(got), readers.holder_dies - self._died[number]))
        self._died[number] += dying
        return got[dying:]

    def _answered(self, now: float) -> None:
        answered = self.database.done(now)
        if not answered:
            return
        pipeline = self._client.pipeline(transaction=False)
        for query in answered:
            readers = self.readers[query.readers]
            self.recomputed[query.key] += 1
            if readers.stores:
                store(pipeline, query.key, readers, now)
        pipeline.execute()


def store(pipeline: Any, key: str, readers: Readers, now: float) -> None:
    """Write a value that says, on this process's clock, until when it lives."""
    pipeline.set(key, str(now + readers.ttl_s), px=int(readers.ttl_s * 1_000) or None)


def client(url: str) -> redis.Redis:
    """Return a client that tries once."""
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), decode_responses=True)


@contextlib.contextmanager
def reading(
    url: str, *readers: Readers, database: Database | None = None, warm: bool = True, seed: int = 0
) -> Iterator[Load]:
    """Let readers read: warm keys first, and entered when every one of them has read for a moment."""
    with client(url) as setup:
        if warm:
            pipeline = setup.pipeline(transaction=False)
            for one in readers:
                for key in one.every_key() if one.stores else ():
                    store(pipeline, key, one, time.monotonic())
            pipeline.execute()
        load = Load(url, readers, database or shared(), seed)
        try:
            wait_until(lambda: load.reads > sum(one.per_s for one in readers) / 5, _SOON_S)
            yield load
        finally:
            load.stop()
            names = [key for one in load.readers for key in one.every_key()]
            locks = [f"{key}:lock" for one in load.readers if one.lock_s for key in one.every_key()]
            for begin in range(0, len(names), 500):
                setup.unlink(*names[begin : begin + 500])
            if locks:
                setup.unlink(*locks)


@contextlib.contextmanager
def naming_misses(url: str) -> Iterator[None]:
    """Have the server name missed keys (notify-keyspace-events with E and m); the old value is put back."""
    with client(url) as setup:
        before = str(setup.config_get("notify-keyspace-events")["notify-keyspace-events"])
        setup.config_set("notify-keyspace-events", "Em")
        try:
            yield
        finally:
            setup.config_set("notify-keyspace-events", before)


@contextlib.contextmanager
def every(seconds: float, act: Callable[[redis.Redis], object], url: str, first_s: float = 4.0) -> Iterator[None]:
    """Do something after `first_s` and then every so many seconds, as a cron job does."""
    enough = threading.Event()

    def run() -> None:
        with client(url) as connection:
            wait_s = first_s
            while not enough.wait(wait_s):
                with contextlib.suppress(redis.ConnectionError):
                    act(connection)
                wait_s = seconds

    thread = threading.Thread(target=run, name="cron", daemon=True)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()
