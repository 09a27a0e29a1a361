"""Facts about Redis. Nouns: redis.io command reference, "INFO", "EXPIRE"."""

from __future__ import annotations

from msgspec import Struct

from diag.snapshots.base import Snapshot
from diag.text import KeyText


class KeyFamily(Struct, frozen=True, kw_only=True):
    """Sampled keys that share a name pattern such as `product:page:{n}`.

    `expires_in_s` holds, in rising order, the seconds from `observed_at` until each sampled
    key that has a time to live expires; `without_expiry` counts the sampled keys that have none.
    """

    pattern: KeyText
    expires_in_s: tuple[float, ...] = ()
    without_expiry: int = 0

    @property
    def sampled(self) -> int:
        """How many sampled keys belong to the family."""
        return len(self.expires_in_s) + self.without_expiry


class RedisExpiry(Snapshot, frozen=True, kw_only=True):
    """When the keys of one logical database expire, from a random sample of them.

    `sampled_keys` draws out of `total_keys` (DBSIZE), by `method`; `exhaustive` says that every
    key was seen. `keyspace_hits` and `keyspace_misses` are INFO's totals since the server
    started, read before the sample so that our own look-ups are not in them.
    """

    families: tuple[KeyFamily, ...]
    sampled_keys: int
    total_keys: int
    exhaustive: bool
    method: str
    database: int = 0
    keyspace_hits: int = 0
    keyspace_misses: int = 0
    uptime_s: float = 0.0
    maxmemory_policy: str = ""
