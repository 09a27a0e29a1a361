"""Which keys will expire together, which miss storms run now, and what they cost the database."""

from diag.analysis.cache_use import used
from diag.analysis.expiry import cluster_rows
from diag.analysis.miss_shapes import storm_rows
from diag.analysis.storm_cost import protections
from diag.snapshots.base import Window
from diag.snapshots.redis import RedisExpiry, RedisLoad

_WINDOW_S = 5.0  # half of a miss storm of 10 s, the shortest that people called us for


def _expiry(window: Window[RedisExpiry]) -> dict[str, object]:
    last, first = window.last, window.first
    hits = last.keyspace_hits - first.keyspace_hits
    reads = hits + last.keyspace_misses - first.keyspace_misses
    return {
        "expiry_clusters": cluster_rows(last, _WINDOW_S),
        "hit_ratio": round(hits / reads, 4) if reads > 0 else None,
    }


def _load(window: Window[RedisLoad]) -> dict[str, object]:
    use = used(window)
    ratio = use.hit_ratio if use else None
    return {
        "hit_ratio": None if ratio is None else round(ratio, 4),
        "storms": storm_rows(window),
        "protections": protections(window),
    }


TABLES = {RedisExpiry: _expiry, RedisLoad: _load}
COLUMNS = {
    "expiry_clusters": ("pattern", "keys", "share", "expires_at", "width_s"),
    "storms": ("began_at", "shape", "length_s", "misses", "recomputations", "key"),
    "protections": ("protection", "recomputations", "database_peak_queries", "added_wait_s", "staleness_s", "gain"),
}
