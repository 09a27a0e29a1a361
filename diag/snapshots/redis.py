"""Facts about Redis. Nouns: redis.io command reference, "INFO", "EXPIRE"."""

from __future__ import annotations

from msgspec import Struct, field

from diag.snapshots.base import Snapshot
from diag.text import KeyText, ServerText


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

    `sampled_keys` draws out of `total_keys` living ones (DBSIZE without those that are due but still held; of an asked
    pattern, those that were met or are estimated), over all primaries of a cluster, by `method`; `exhaustive` says
    that every key was seen. `keyspace_hits` and `keyspace_misses` are INFO's totals since the server
    started, read before the sample and without our own look-ups.
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


class KeyCount(Struct, frozen=True, kw_only=True):
    """How often one key was named in a stream of events."""

    key: KeyText
    count: int


class KeyEvents(Struct, frozen=True, kw_only=True):
    """Keys named by the server itself since the frame before, most often first.

    `distinct` keys were named `total` times; `top` holds the most frequent. `complete` is False
    when we stopped listening because there were too many.
    """

    total: int = 0
    distinct: int = 0
    top: tuple[KeyCount, ...] = ()
    complete: bool = True


class WatchedKey(Struct, frozen=True, kw_only=True):
    """The one key that was asked for by its whole name (--match without glob characters), as it is in a frame.

    `expires_in_s` counts from the frame's `observed_at`; None where the key never expires or is not there.
    """

    key: KeyText
    exists: bool
    expires_in_s: float | None = None


class NodeReads(Struct, frozen=True, kw_only=True):
    """What one server of a cluster, or one replica, counts since it was started; without our own look-ups."""

    address: ServerText
    role: str
    run_id: str
    keyspace_hits: int
    keyspace_misses: int
    keys: int = 0


class RedisLoad(Snapshot, frozen=True, kw_only=True):
    """What the server counts, for all its logical databases, since it was started (INFO).

    Hits and misses are without our own look-ups up to here. `changes` is rdb_changes_since_last_save
    (falls to 0 at a save), `calls` are the calls of each command by its lower-case name, without ours, `errors` the
    error replies by their code. `expired_stale_ratio` is the share (0-1) of expired keys still held among those
    the expiry cycle looks at. `missed` are keys by `keymiss` events where `keyspace_events`, the setting
    (None: not readable), has them sent; `written` those changed under the asked prefix, by CLIENT TRACKING;
    None: not listened. `nodes` are all the servers that were asked, the dialled one first, once asked and lost ones
    with what they counted last: hits, misses and `errors` are sums over all of them, everything else over those that
    are no replicas of others asked. `replicas` are connected ones that could not be asked, whose reads are not in these
    figures. `frequencies` are of named keys, under an LFU policy: OBJECT FREQ, a logarithmic counter of uses (0-255).
    """

    run_id: str
    role: str = "master"
    uptime_s: float = 0.0
    keyspace_hits: int = 0
    keyspace_misses: int = 0
    expired_keys: int = 0
    expired_stale_ratio: float = 0.0
    evicted_keys: int = 0
    keys: int = 0
    volatile_keys: int = 0
    used_memory_bytes: int = 0
    maxmemory_bytes: int = 0
    maxmemory_policy: str = ""
    changes: int = 0
    calls: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    missed: KeyEvents | None = None
    written: KeyEvents | None = None
    keyspace_events: str | None = None
    watched: WatchedKey | None = None
    frequencies: tuple[KeyCount, ...] = ()
    nodes: tuple[NodeReads, ...] = ()
    replicas: tuple[ServerText, ...] = ()


class KeySize(Struct, frozen=True, kw_only=True):
    """How many bytes one key takes with its value (MEMORY USAGE; collections by five of their elements).

    `kind` is its type as TYPE says it; empty where that was not asked.
    """

    key: KeyText
    size_bytes: int
    kind: str = ""


class KeyUse(Struct, frozen=True, kw_only=True):
    """One key's access counter (OBJECT FREQ, 0-255, logarithmic, falling with time)."""

    key: KeyText
    counter: int


class FamilySize(Struct, frozen=True, kw_only=True):
    """What the sampled keys of one family weigh: their number, the sum of their bytes and of the squares of these."""

    pattern: KeyText
    sampled: int
    sum_bytes: int
    sum_squares: float
    largest_bytes: int


class RedisKeys(Snapshot, frozen=True, kw_only=True):
    """How big the keys of one logical database are, and how often used, from a random sample of them.

    `sampled_keys` draws that were weighed, out of `total_keys`, by `method`; `exhaustive`: every key was seen.
    `biggest` and `hottest` are the first few of the sample. `counters` says how many sampled keys have each
    counter from 0 to 255; empty where the policy keeps none. `lfu_log_factor` and `lfu_decay_min` are the
    settings, None where not readable. `other_keys` lie in other logical databases of the server;
    `narrowed`: only keys of an asked pattern were drawn.
    """

    sampled_keys: int
    total_keys: int
    exhaustive: bool
    method: str
    narrowed: bool = False
    families: tuple[FamilySize, ...] = ()
    biggest: tuple[KeySize, ...] = ()
    hottest: tuple[KeyUse, ...] = ()
    counters: tuple[int, ...] = ()
    lfu_log_factor: int | None = None
    lfu_decay_min: int | None = None
    maxmemory_policy: str = ""
    used_memory_bytes: int = 0
    dataset_bytes: int = 0
    database: int = 0
    other_keys: int = 0
    uptime_s: float = 0.0
