# ruff: noqa: INP001, PLR0913  one file to copy, not a package; every argument is named at the call
"""A cache in front of a slow loader, in which no expiry becomes a storm. Copy it; it needs redis-py and nothing else.

    cache = Cache(connect("redis://127.0.0.1:6379/0"), ttl_s=3600, recompute_p999_s=2.0)
    limits = cache.read("limits:config", load=lambda: query_limits().encode())

Prevents  the storm of one hot key: each expiry met by every reader at once, the database saturated, minutes of it
by        one lock for each key (SET NX PX, released only by who holds it), a refresh in the last 10 % of the time to
          live, the old value for everybody else until `grace_s` after it, and a short, bounded wait where there is none
Prevents  keys written together from expiring together: each time to live differs by up to 20 % both ways
Prevents  a flood of the database while Redis is down or empty: at most `loads_at_once` loads run in each process
Does not  help a database that is too slow for its ordinary load; shield keys that do not exist (cache absence, too);
          make values agree: a reader may get one as old as ttl_s * 1.2 + grace_s (set grace_s to 0 where that is harm)
Costs     one round trip for a read; whoever refreshes waits for it. The lock is not renewed: it lives `lock_s`, which
          is `recompute_p999_s`; a longer recompute is done again, 1 + floor(recompute / lock) times in all; a holder
          that dies delays readers of a missing key by up to `lock_s`
"""

from __future__ import annotations

import contextlib
import logging
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

_LOG = logging.getLogger(__name__)
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class TooManyLoads(Exception):
    """The value is in no cache, and every load that this process may run is running."""


def connect(url: str, *, patience_s: float = 0.25) -> redis.Redis:
    """Return a client that gives up quickly; by redis-py's own time-outs a dead Redis holds each reader for seconds."""
    return redis.Redis.from_url(
        url, socket_timeout=patience_s, socket_connect_timeout=patience_s, retry=Retry(NoBackoff(), 0)
    )


class Cache:
    """Reads through Redis. All times are seconds; values are bytes; one object serves all threads of a process."""

    def __init__(
        self,
        client: Any,
        *,
        ttl_s: float,
        recompute_p999_s: float,
        grace_s: float | None = None,
        wait_s: float | None = None,
        loads_at_once: int = 4,
    ) -> None:
        """Set `recompute_p999_s` to what 999 of 1,000 loads stay below, measured under load, not on a quiet day."""
        self.client, self.ttl_s = client, ttl_s
        self.lock_s = recompute_p999_s
        self.grace_s = ttl_s if grace_s is None else grace_s
        self.wait_s = 2 * self.lock_s if wait_s is None else wait_s
        self.early_s = 0.1 * ttl_s
        self.poll_s = min(0.05, self.lock_s / 10)
        self._slots = threading.BoundedSemaphore(loads_at_once)

    def read(self, key: str, load: Callable[[], bytes]) -> bytes:
        """Return the cached value, or load it; raises what `load` raises, and `TooManyLoads`."""
        deadline = time.monotonic() + self.wait_s
        while True:
            try:
                value, left_s = self._look(key)
                if value is not None and left_s > self.early_s:
                    return value
                token = self._lock(key)
            except redis.RedisError:
                return self._load(load)  # no Redis: no cache and no lock, only the bound on loads
            if token:
                return self._refresh(key, token, load, old=value)
            if value is not None:
                return value  # somebody else refreshes it
            if time.monotonic() >= deadline:
                return self._load(load)
            time.sleep(self.poll_s * random.uniform(0.5, 1.5))  # noqa: S311  so that waiters do not poll in step

    def _refresh(self, key: str, token: str, load: Callable[[], bytes], *, old: bytes | None) -> bytes:
        try:
            with contextlib.suppress(redis.RedisError):
                value, left_s = self._look(key)  # the lock may have become free because the value is there
                if value is not None and left_s > self.early_s:
                    return value
            value = self._load(load)
            with contextlib.suppress(redis.RedisError):
                self.store(key, value)
        except Exception:
            if old is None:
                raise
            _LOG.exception("%s could not be refreshed; its old value is served", key)
            return old
        finally:
            with contextlib.suppress(redis.RedisError):
                self.client.eval(_RELEASE, 1, f"{key}:lock", token)
        return value

    def store(self, key: str, value: bytes) -> None:
        """Write a value; a warm-up uses this, too, so that what it writes does not expire in one moment."""
        lives_s = self.ttl_s * random.uniform(0.8, 1.2)  # noqa: S311  no secret
        self.client.set(key, value, px=max(1, round((lives_s + self.grace_s) * 1000)))

    def _look(self, key: str) -> tuple[bytes | None, float]:
        """Return the value and the seconds until it is stale: Redis keeps it for `grace_s` longer."""
        value, left_ms = self.client.pipeline().get(key).pttl(key).execute()
        return value, left_ms / 1000 - self.grace_s

    def _lock(self, key: str) -> str | None:
        token = secrets.token_hex(16)
        taken = self.client.set(f"{key}:lock", token, nx=True, px=max(1, round(self.lock_s * 1000)))
        return token if taken else None

    def _load(self, load: Callable[[], bytes]) -> bytes:
        with self._slot():
            return load()

    @contextlib.contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._slots.acquire(timeout=self.wait_s):
            raise TooManyLoads
        try:
            yield
        finally:
            self._slots.release()
