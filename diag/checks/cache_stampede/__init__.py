"""Which keys will expire together, which miss storms run now, and what they cost the database."""

from diag.analysis.expiry import cluster_rows
from diag.snapshots.base import Window
from diag.snapshots.redis import RedisExpiry

_WINDOW_S = 5.0  # half of a miss storm of 10 s, the shortest that people called us for


def _expiry(window: Window[RedisExpiry]) -> dict[str, object]:
    last, first = window.last, window.first
    hits = last.keyspace_hits - first.keyspace_hits
    reads = hits + last.keyspace_misses - first.keyspace_misses
    return {
        "expiry_clusters": cluster_rows(last, _WINDOW_S),
        "hit_ratio": round(hits / reads, 4) if reads > 0 else None,
    }


TABLES = {RedisExpiry: _expiry}
COLUMNS = {"expiry_clusters": ("pattern", "keys", "share", "expires_at", "width_s")}
