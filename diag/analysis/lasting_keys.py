"""Keys that never expire: how many, how they grow, and which families they are of.

Source: redis.io, "INFO" (keyspace: keys, expires), "Key eviction" (what each policy may throw away).
"""

from __future__ import annotations

from msgspec import Struct

from diag.analysis.expiry import share_interval
from diag.snapshots.base import Window
from diag.snapshots.redis import RedisExpiry, RedisLoad
from diag.text import KeyText


class Lasting(Struct, frozen=True, kw_only=True):
    """Keys without a time to live, of all `keys`; `added` of them, and so many bytes, came in `span_s` seconds."""

    keys: int
    lasting: int
    added: int
    added_bytes: int
    span_s: float

    @property
    def ratio(self) -> float:
        """Share (0-1) of the keys that never expire."""
        return self.lasting / self.keys if self.keys else 0.0

    @property
    def bytes_per_s(self) -> float:
        """How fast memory grows; 0 where it does not."""
        return max(0.0, self.added_bytes / self.span_s) if self.span_s > 0 else 0.0


def lasting(window: Window[RedisLoad]) -> Lasting:
    """Return the keys that never expire and their growth; no growth is seen across a restart or in a single frame."""
    first, last = window.first, window.last
    alike = first.run_id == last.run_id
    there = max(0, last.keys - last.volatile_keys)
    return Lasting(
        keys=last.keys,
        lasting=there,
        added=there - max(0, first.keys - first.volatile_keys) if alike else 0,
        added_bytes=last.used_memory_bytes - first.used_memory_bytes if alike else 0,
        span_s=window.span_s,
    )


def full_in_s(window: Window[RedisLoad]) -> float | None:
    """Return when memory reaches maxmemory if it grows on like this; None without a limit or growth."""
    last, rate = window.last, lasting(window).bytes_per_s
    if last.maxmemory_bytes <= 0 or rate <= 0:
        return None
    return max(0, last.maxmemory_bytes - last.used_memory_bytes) / rate


class LastingFamily(Struct, frozen=True, kw_only=True):
    """A family with sampled keys that never expire: their share of all keys, with its 95 % interval (Wilson)."""

    pattern: KeyText
    sampled: int
    share: float
    low: float
    high: float


def lasting_families(expiry: RedisExpiry) -> tuple[LastingFamily, ...]:
    """Return the families with keys that never expire, the one with most first."""
    drawn = expiry.sampled_keys
    found = [one for one in expiry.families if one.without_expiry and drawn]
    return tuple(
        LastingFamily(
            pattern=one.pattern,
            sampled=one.without_expiry,
            share=(share := one.without_expiry / drawn),
            low=share if expiry.exhaustive else share_interval(one.without_expiry, drawn)[0],
            high=share if expiry.exhaustive else share_interval(one.without_expiry, drawn)[1],
        )
        for one in sorted(found, key=lambda one: (-one.without_expiry, one.pattern.raw))
    )
