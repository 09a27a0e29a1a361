"""Whether reads find their keys, and what memory has to do with it."""

from diag.analysis.cache_use import cache_rows
from diag.snapshots.base import Window
from diag.snapshots.redis import RedisLoad


def _cache(window: Window[RedisLoad]) -> dict[str, object]:
    return {"cache": cache_rows(window)}


TABLES = {RedisLoad: _cache}
COLUMNS = {
    "cache": ("hit_ratio", "reads_per_s", "evicted_per_s", "keys", "volatile_keys", "maxmemory_policy"),
}
