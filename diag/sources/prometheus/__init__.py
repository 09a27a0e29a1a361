"""Prometheus, or whatever answers its HTTP API: raw samples of a few counters, over one bounded session."""

from diag.sources.prometheus.connection import connect
from diag.sources.prometheus.history import cache_history

ASKS = {
    "CacheHistory": (
        "/api/v1/query vector(1)",
        "/api/v1/series of redis_keyspace_hits_total, redis_keyspace_misses_total, pg_stat_statements_calls(_total),",
        "  pg_stat_database_xact_commit(_total) and _rollback(_total), or of what the context names instead",
        "/api/v1/query count_over_time(SERIES[SPAN]) of those found",
        "/api/v1/query SERIES[SPAN], their raw samples, in pieces of at most 8 000 a series",
    ),
}
"""What is sent to take each fact."""

__all__ = ["ASKS", "cache_history", "connect"]
