"""Somebody appends to one hash and never removes anything, and keeps an export in one string."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from diag.lab.servers import Servers

NEEDS = ("redis",)
FIELDS = 500_000
STRING_BYTES = 30_000_000
_BATCH_FIELDS = 10_000
_ORDINARY_KEYS = 2_000
_BASKETS, _EXPORT = "baskets:all", "export:catalogue"


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Keep the keys until the block ends, then remove them."""
    assert servers.redis is not None
    ordinary = {f"basket:{number}": "x" * 100 for number in range(_ORDINARY_KEYS)}
    with redis.Redis.from_url(servers.redis.url, retry=Retry(NoBackoff(), 0)) as client:
        try:
            client.mset(ordinary)
            client.set(_EXPORT, "x" * STRING_BYTES)
            for first in range(0, FIELDS, _BATCH_FIELDS):
                client.hset(_BASKETS, mapping={f"customer:{n}": "basket" for n in range(first, first + _BATCH_FIELDS)})
            yield
        finally:
            client.unlink(_BASKETS, _EXPORT, *ordinary)
