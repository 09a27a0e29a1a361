"""What a cache did in a window: differences of Redis's counters, never totals since the start.

Source: redis.io, "INFO" (keyspace_hits, keyspace_misses, evicted_keys, errorstats).
"""

from __future__ import annotations

from functools import lru_cache

from msgspec import Struct

from diag.snapshots.base import Row, Window
from diag.snapshots.redis import RedisLoad


class Use(Struct, frozen=True, kw_only=True):
    """Reads, writes and evictions of `span_s` seconds; `refused` writes got an OOM error."""

    span_s: float
    hits: int
    misses: int
    evicted: int
    refused: int

    @property
    def hit_ratio(self) -> float | None:
        """Share (0-1) of reads that found their key; None when nothing was read."""
        reads = self.hits + self.misses
        return self.hits / reads if reads else None

    @property
    def evicted_per_s(self) -> float:
        """Keys thrown away each second."""
        return self.evicted / self.span_s


@lru_cache(maxsize=4)
def used(window: Window[RedisLoad]) -> Use | None:
    """Return what happened between the first frame and the last; None when the counters began anew in between."""
    first, last = window.first, window.last
    use = Use(
        span_s=window.span_s,
        hits=last.keyspace_hits - first.keyspace_hits,
        misses=last.keyspace_misses - first.keyspace_misses,
        evicted=last.evicted_keys - first.evicted_keys,
        refused=last.errors.get("OOM", 0) - first.errors.get("OOM", 0),
    )
    began_anew = first.run_id != last.run_id or min(use.hits, use.misses, use.evicted, use.refused) < 0
    return None if began_anew or window.span_s <= 0 else use


def evictable(load: RedisLoad) -> int:
    """Return how many keys the policy may throw away."""
    if load.maxmemory_policy.startswith("allkeys-"):
        return load.keys
    return load.volatile_keys if load.maxmemory_policy.startswith("volatile-") else 0


def fill_ratio(load: RedisLoad) -> float | None:
    """Return the share of maxmemory in use; None without a limit."""
    return load.used_memory_bytes / load.maxmemory_bytes if load.maxmemory_bytes > 0 else None


class MemoryRow(Row, frozen=True, kw_only=True):
    """One row of `facts.cache[]`."""

    hit_ratio: float | None
    reads_per_s: float | None
    evicted_per_s: float | None
    keys: int
    volatile_keys: int
    used_memory_bytes: int
    maxmemory_bytes: int
    maxmemory_policy: str


def cache_rows(window: Window[RedisLoad]) -> tuple[MemoryRow, ...]:
    """Return one row for the server."""
    use, last = used(window), window.last
    ratio = use.hit_ratio if use else None
    return (
        MemoryRow(
            target=last.target.name,
            hit_ratio=None if ratio is None else round(ratio, 4),
            reads_per_s=round((use.hits + use.misses) / use.span_s, 1) if use else None,
            evicted_per_s=round(use.evicted_per_s, 1) if use else None,
            keys=last.keys,
            volatile_keys=last.volatile_keys,
            used_memory_bytes=last.used_memory_bytes,
            maxmemory_bytes=last.maxmemory_bytes,
            maxmemory_policy=last.maxmemory_policy,
        ),
    )
