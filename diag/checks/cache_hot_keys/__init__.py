"""Which keys are used far more than the others, and which are too big, by sample."""

from diag.analysis.key_sizes import big_key_rows, family_rows
from diag.analysis.key_use import hot_key_rows
from diag.snapshots.base import Window
from diag.snapshots.redis import RedisKeys


def _keys(window: Window[RedisKeys]) -> dict[str, object]:
    last = window.last
    return {"big_keys": big_key_rows(last), "hot_keys": hot_key_rows(last), "key_families": family_rows(last)}


TABLES = {RedisKeys: _keys}
COLUMNS = {
    "big_keys": ("key", "kind", "size_bytes", "memory_share"),
    "hot_keys": ("key", "counter", "accesses", "held_per_s"),
    "key_families": ("pattern", "keys", "mean_bytes", "share", "least_share", "most_share"),
}
