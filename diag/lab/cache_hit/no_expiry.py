"""A cache with a volatile policy is filled with keys that never expire, up to four fifths of its limit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from diag.lab.servers import Servers

NEEDS = ("redis",)
LASTING_KEYS = 4_000
_VOLATILE_KEYS = 50
_PAGE = "x" * 1_000
_FILL_RATIO = 0.8


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Keep the keys and the limit until the block ends."""
    assert servers.redis is not None
    names = [f"page:{number}" for number in range(LASTING_KEYS)]
    sessions = [f"session:{number}" for number in range(_VOLATILE_KEYS)]
    with redis.Redis.from_url(servers.redis.url, retry=Retry(NoBackoff(), 0), decode_responses=True) as client:
        before = client.config_get("maxmemory*")
        try:
            client.mset(dict.fromkeys(names, _PAGE))
            for name in sessions:
                client.set(name, "session", ex=3_600)
            client.config_set("maxmemory-policy", "volatile-lru")
            client.config_set("maxmemory", int(client.info("memory")["used_memory"] / _FILL_RATIO))
            yield
        finally:
            client.config_set("maxmemory", str(before["maxmemory"]))
            client.config_set("maxmemory-policy", str(before["maxmemory-policy"]))
            client.unlink(*names, *sessions)
