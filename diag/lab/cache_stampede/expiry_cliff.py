"""A warm-up writes a whole product catalogue with one time to live; sessions live beside it, well spread."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from diag.lab.servers import Servers

NEEDS = ("redis",)
CLIFF_KEYS = 12_000
SPREAD_KEYS = 6_000
CLIFF_IN_S = 290
_CLIFF_WIDTH_S = 2
_LONGEST_SESSION_S = 3_600


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Keep the keys until the block ends, then remove them."""
    assert servers.redis is not None
    client = redis.Redis.from_url(servers.redis.url, retry=Retry(NoBackoff(), 0))
    chance = random.Random(7)  # noqa: S311  the same world every time
    at = int(time.time()) + CLIFF_IN_S
    names = [f"product:page:{number}" for number in range(CLIFF_KEYS)]
    sessions = [f"session:{chance.getrandbits(64):016x}" for _ in range(SPREAD_KEYS)]
    with client, client.pipeline(transaction=False) as pipeline:
        for number, name in enumerate(names):
            pipeline.set(name, "page", exat=at + number % _CLIFF_WIDTH_S)
        for name in sessions:
            pipeline.set(name, "session", ex=chance.randint(60, _LONGEST_SESSION_S))
        pipeline.execute()
        try:
            yield
        finally:
            pipeline.unlink(*names, *sessions)
            pipeline.execute()
