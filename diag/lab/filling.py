"""A writer that keeps a server at its memory limit; limit and policy are put back afterwards."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from diag.lab.process import wait_until
from diag.lab.servers import RedisServer

_ROOM_BYTES = 4_000_000
_PAGE = "x" * 1_000
_PAUSE_S = 0.001  # some hundred writes a second
_SOON_S = 20.0


@contextlib.contextmanager
def filling(server: RedisServer, policy: str, counted: str) -> Iterator[None]:
    """Write pages without end under a limit; entered when the field `counted` of INFO has risen."""
    client = redis.Redis.from_url(server.url, retry=Retry(NoBackoff(), 0), decode_responses=True)
    before = client.config_get("maxmemory*")
    enough = threading.Event()
    with client:
        limit = client.info("memory")["used_memory"] + _ROOM_BYTES
        client.config_set("maxmemory-policy", policy)
        client.config_set("maxmemory", limit)
        counted_before = _count(client, counted)
        writer = threading.Thread(target=_write, args=(server.url, enough), daemon=True)
        writer.start()
        try:
            wait_until(lambda: _count(client, counted) > counted_before, _SOON_S)
            yield
        finally:
            enough.set()
            writer.join()
            client.config_set("maxmemory", str(before["maxmemory"]))
            client.config_set("maxmemory-policy", str(before["maxmemory-policy"]))
            for page in client.scan_iter("lab:page:*", count=500):
                client.unlink(page)


def _count(client: redis.Redis, counted: str) -> int:
    told = client.info("everything").get(counted, 0)
    return int(told["count"] if isinstance(told, dict) else told)


def _write(url: str, enough: threading.Event) -> None:
    number = 0
    with redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0)) as client:
        while not enough.wait(_PAUSE_S if number > _ROOM_BYTES / len(_PAGE) else 0):
            number += 1
            with contextlib.suppress(redis.exceptions.OutOfMemoryError):
                client.set(f"lab:page:{number}", _PAGE)
