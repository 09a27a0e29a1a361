"""Every request reads one key of a cache that counts accesses (an LFU policy); the policy is put back afterwards."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from diag.lab.process import wait_until
from diag.lab.servers import Servers

NEEDS = ("redis",)
HOT = "limits:config"
KEYS = 2_000
_AT_ONCE = 1_000
_PAUSE_S = 0.002
_SOON_S = 20.0
_FULL = 250  # of 255: as hot as the counter can show


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Keep reading until the block ends."""
    assert servers.redis is not None
    names = [f"product:{number}" for number in range(KEYS)]
    enough = threading.Event()
    with redis.Redis.from_url(servers.redis.url, retry=Retry(NoBackoff(), 0), decode_responses=True) as client:
        policy = client.config_get("maxmemory-policy")["maxmemory-policy"]
        client.config_set("maxmemory-policy", "allkeys-lfu")
        client.mset(dict.fromkeys([*names, HOT], "x"))
        reader = threading.Thread(target=_read, args=(servers.redis.url, names, enough), daemon=True)
        try:
            wait_until(lambda: _read_much(client) >= _FULL, _SOON_S)
            reader.start()
            yield
        finally:
            enough.set()
            if reader.ident:
                reader.join()
            client.unlink(HOT, *names)
            client.config_set("maxmemory-policy", str(policy))


def _read_much(client: redis.Redis) -> int:
    """Read the one key many times in a few commands, as a busy hour does; return its counter."""
    for _ in range(20):
        client.mget([HOT] * _AT_ONCE)
    return int(client.object("freq", HOT))


def _read(url: str, names: list[str], enough: threading.Event) -> None:
    with redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0)) as client:
        while not enough.wait(_PAUSE_S):
            for name in (HOT, HOT, HOT, names[0]):
                client.get(name)
            names.append(names.pop(0))
