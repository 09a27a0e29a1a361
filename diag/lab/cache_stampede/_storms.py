"""Storms and what only looks like one, each on a real server with real readers; the database is simulated.

Every one of them is `NAME(servers, seed=0)`, by which rates and names differ; `OPTIONS` are the words of a look
that is long enough for all: what happens, happens some seconds after it was entered.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
import redis

from diag.lab.cache_stampede import _load
from diag.lab.cache_stampede._load import Load, Readers
from diag.lab.servers import Servers

OPTIONS: Final = ("--samples", "12", "--interval", "1")
TTL_S: Final = 6.0
KEYS: Final = ("limits:config", "rates:eur", "menu:main", "flags:all", "tariff:current")
_SOON_S: Final = 4.0
_FAMILY_KEYS: Final = 1_500
_COLD_KEYS: Final = 8_000  # at some hundred reads a second, cold for a quarter of a minute


def key_of(seed: int) -> str:
    """Return the name of the one hot key."""
    return KEYS[seed % len(KEYS)]


def _url(servers: Servers) -> str:
    assert servers.redis is not None
    return servers.redis.url


def _hot(seed: int, **more: float) -> Readers:
    """Readers of one key, in numbers that keep eight workers of a database busy for a second or two."""
    chance = random.Random(seed)  # noqa: S311  a scenario, no secret
    wanted = {"per_s": chance.uniform(250, 310), "ttl_s": TTL_S} | more
    return msgspec.structs.replace(Readers(names=_one(key_of(seed))), **wanted)


def _one(key: str) -> Callable[[int], str]:
    return lambda _number: key


def page_readers(seed: int, per_s: float = 0.0, name: str = "page") -> Readers:
    """Other traffic, which finds what it reads."""
    chance = random.Random(seed + 100)  # noqa: S311  a scenario, no secret
    return Readers(names=_numbered(name), keys=_FAMILY_KEYS, per_s=per_s or chance.uniform(80, 150))


def _numbered(name: str) -> Callable[[int], str]:
    return lambda number: f"{name}:{number}"


@contextlib.contextmanager
def hot_key(servers: Servers, seed: int = 0) -> Iterator[Load]:
    """One key that everybody reads expires, and everybody recomputes it; the server names missed keys."""
    with _load.naming_misses(_url(servers)), unnamed_hot_key(servers, seed) as load:
        yield load


@contextlib.contextmanager
def unnamed_hot_key(servers: Servers, seed: int = 0) -> Iterator[Load]:
    """The same, and nobody names the key."""
    with _load.reading(_url(servers), _hot(seed), page_readers(seed), seed=seed) as load:
        yield load


@contextlib.contextmanager
def on_a_replica(servers: Servers, seed: int = 0, *, replica_url: str = "") -> Iterator[Load]:
    """The same on a replica, from which everything is read: the primary misses nothing."""
    with _load.reading(_url(servers), _hot(seed), page_readers(seed), seed=seed, replica_url=replica_url) as load:
        yield load


@contextlib.contextmanager
def lock_too_short(servers: Servers, seed: int = 0) -> Iterator[Load]:
    """A lock that lives for a second or so, and a recomputation that takes three."""
    readers = _hot(seed, lock_s=1.0 + 0.1 * (seed % 3), ttl_s=4.0)
    slow = _load.queueing(3.0)
    with _load.reading(_url(servers), readers, page_readers(seed), database=slow, seed=seed) as load:
        yield load


@contextlib.contextmanager
def lock_orphaned(servers: Servers, seed: int = 0) -> Iterator[Load]:
    """The reader that got the lock dies, and the lock outlives it."""
    readers = _hot(seed, lock_s=5.0 + seed % 3, ttl_s=4.0, holder_dies=1)
    with _load.reading(_url(servers), readers, page_readers(seed), seed=seed) as load:
        yield load


@contextlib.contextmanager
def early_refresh(servers: Servers, seed: int = 0) -> Iterator[Load]:
    """Below a fifth of the time to live every reader refreshes the key; nothing is ever missed."""
    readers = _hot(seed, early=0.2, ttl_s=7.0)
    with _load.reading(_url(servers), readers, page_readers(seed), seed=seed) as load:
        yield load


@contextlib.contextmanager
def mass_expiry(servers: Servers, seed: int = 0) -> Iterator[Load]:
    """A warm-up gave many keys one time to live, and they are read."""
    items = page_readers(seed, 350 + 20 * (seed % 5), "item")
    with _load.reading(_url(servers), items, database=_load.shared(0.01), seed=seed) as load:
        _dying(_url(servers), items.every_key())
        yield load


def _dying(url: str, names: list[str]) -> None:
    """Write keys that live for a few seconds from now."""
    with _load.client(url) as client, client.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.set(name, "0", px=int(_SOON_S * 1_000))
        pipeline.execute()


@contextlib.contextmanager
def unread_expiry(servers: Servers, seed: int = 0) -> Iterator[Load]:
    """Many keys expire together, and nobody reads them: no storm."""
    with _load.reading(_url(servers), page_readers(seed, 300), seed=seed) as load:
        _dying(_url(servers), [f"export:{number}" for number in range(20_000)])
        yield load


@contextlib.contextmanager
def invalidation(servers: Servers, seed: int = 0) -> Iterator[Load]:
    """A job deletes a whole family by the clock; their time to live has nothing to do with it."""
    items = page_readers(seed, 350 + 20 * (seed % 5), "item")

    def delete(connection: redis.Redis) -> None:
        connection.unlink(*items.every_key())

    fast = _load.shared(0.01)
    with (
        _load.reading(_url(servers), items, database=fast, seed=seed) as load,
        _load.every(20.0, delete, _url(servers), first_s=_SOON_S),
    ):
        yield load


@contextlib.contextmanager
def new_keys(servers: Servers, seed: int = 0) -> Iterator[Load]:
    """A release reads and writes the same things under another version of their names."""
    old = page_readers(seed, 350 + 20 * (seed % 5), "v41:item")
    new = msgspec.structs.replace(old, names=_numbered("v42:item"))
    url = _url(servers)
    with _load.reading(url, old, database=_load.shared(0.01), seed=seed) as load:

        def release(_connection: redis.Redis) -> None:
            load.readers[0] = new

        try:
            with _load.every(60.0, release, url, first_s=_SOON_S):
                yield load
        finally:
            with _load.client(url) as client:
                client.unlink(*old.every_key())


def _absent(per_s: float, command: str = "GET") -> Readers:
    """Look-ups of keys that do not exist and never will."""
    return Readers(names=_numbered("user:nobody"), keys=100_000, per_s=per_s, stores=False, command=command)


@contextlib.contextmanager
def absent_keys(servers: Servers, seed: int = 0, *, first_s: float = 0.0) -> Iterator[Load]:
    """A scanner asks for thousands of keys that do not exist; after `first_s`, or all the time."""
    with _additional(servers, _absent(250 + 30 * seed), seed, first_s) as load:
        yield load


@contextlib.contextmanager
def a_monitor(servers: Servers, seed: int = 0, *, first_s: float = 0.0) -> Iterator[Load]:
    """Another tool asks whether keys exist, and they do not: the readers' own hit ratio is what it was."""
    with _additional(servers, _absent(200 + 30 * seed, "EXISTS"), seed, first_s) as load:
        yield load


@contextlib.contextmanager
def _additional(servers: Servers, more: Readers, seed: int, first_s: float) -> Iterator[Load]:
    fast = _load.shared(0.01)
    pages = page_readers(seed)
    if not first_s:
        with _load.reading(_url(servers), pages, more, database=fast, seed=seed) as load:
            yield load
        return
    quiet = msgspec.structs.replace(more, per_s=0.0)
    with _load.reading(_url(servers), pages, quiet, database=fast, seed=seed) as load:

        def begin(_connection: redis.Redis) -> None:
            load.readers[1] = more

        with _load.every(60.0, begin, _url(servers), first_s=first_s):
            yield load


@contextlib.contextmanager
def rate_limits(servers: Servers, seed: int = 0) -> Iterator[Load]:
    """Counters that live for two seconds each: they expire and come back all the time."""
    limits = Readers(names=_numbered("rate"), keys=300, per_s=250 + 20 * seed, ttl_s=2.0)
    with _load.reading(
        _url(servers), limits, page_readers(seed, 300), database=_load.queueing(0.001), seed=seed
    ) as load:
        yield load


@contextlib.contextmanager
def more_traffic(servers: Servers, seed: int = 0) -> Iterator[Load]:
    """Three times as many reads, and with them three times as many misses: the ratio stays."""
    pages, absent = page_readers(seed, 150 + 10 * seed), _absent(15)
    with _load.reading(_url(servers), pages, absent, database=_load.shared(0.01), seed=seed) as load:

        def grow(_connection: redis.Redis) -> None:
            load.readers[0] = msgspec.structs.replace(pages, per_s=3 * pages.per_s)
            load.readers[1] = msgspec.structs.replace(absent, per_s=3 * absent.per_s)

        with _load.every(60.0, grow, _url(servers), first_s=_SOON_S):
            yield load


@contextlib.contextmanager
def cold_cache(servers: Servers, seed: int = 0) -> Iterator[Load]:
    """A server that has just been started, empty, and gets the whole traffic."""
    pages = msgspec.structs.replace(page_readers(seed, 350 + 20 * seed), keys=_COLD_KEYS)
    with _load.reading(_url(servers), pages, database=_load.shared(0.01), warm=False, seed=seed) as load:
        yield load


@contextlib.contextmanager
def flushed(servers: Servers, seed: int = 0) -> Iterator[Load]:
    """Somebody flushes the whole database."""
    pages = page_readers(seed, 350 + 20 * seed)
    with (
        _load.reading(_url(servers), pages, database=_load.shared(0.01), seed=seed) as load,
        _load.every(60.0, lambda connection: connection.flushall(), _url(servers), first_s=_SOON_S),
    ):
        yield load
