"""The counters of a cache and of the database behind it, from Prometheus where it has them, else as they were read."""

from msgspec import Struct

from diag.analysis.increments import Increments, load_increments, series_increments, throughput_increments
from diag.snapshots.base import Window
from diag.snapshots.postgres import PgThroughput
from diag.snapshots.prometheus import CacheHistory
from diag.snapshots.redis import RedisLoad


class Reads(Struct, frozen=True, kw_only=True):
    """What was missed and found up to `now_s` (seconds since 1970), and by whose account."""

    misses: Increments
    hits: Increments | None
    now_s: float
    words: str


def reads(load: Window[RedisLoad], history: CacheHistory | None) -> Reads:
    """Return what was read of the cache, as Prometheus recorded it where it did."""
    misses = series_increments(history.misses) if history else None
    if history and misses:
        return Reads(
            misses=misses,
            hits=series_increments(history.hits),
            now_s=history.observed_at.timestamp(),
            words="Prometheus, hits and misses",
        )
    return Reads(
        misses=load_increments(load, lambda frame: frame.keyspace_misses),
        hits=load_increments(load, lambda frame: frame.keyspace_hits),
        now_s=load.last.observed_at.timestamp(),
        words="INFO keyspace_misses, keyspace_hits",
    )


class Counted(Struct, frozen=True, kw_only=True):
    """The counters of both sides from the same kind of source; `active` is the time that statements ran, in s."""

    misses: Increments
    hits: Increments | None
    queries: Increments
    active: Increments | None
    caches_words: str
    database_words: str

    @property
    def readings(self) -> int:
        """How often the side that was read less often was read."""
        return min(len(self.misses.edges_s), len(self.queries.edges_s))


def counted(
    load: Window[RedisLoad], history: CacheHistory | None, throughput: Window[PgThroughput] | None
) -> Counted | None:
    """Return both sides, as Prometheus recorded them where it has both; None where one is not known."""
    if history is not None:
        misses, queries = series_increments(history.misses), series_increments(history.queries)
        if misses is not None and queries is not None:
            return Counted(
                misses=misses,
                hits=series_increments(history.hits),
                queries=queries,
                active=None,
                caches_words="Prometheus, hits and misses",
                database_words="Prometheus, the database's counter",
            )
    if throughput is None or len(load.frames) < 2:  # noqa: PLR2004  growth is between two
        return None
    timed = all(frame.active_s is not None for frame in throughput.frames)
    return Counted(
        misses=load_increments(load, lambda frame: frame.keyspace_misses),
        hits=load_increments(load, lambda frame: frame.keyspace_hits),
        queries=throughput_increments(throughput, lambda frame: frame.transactions),
        active=throughput_increments(throughput, lambda frame: frame.active_s or 0.0) if timed else None,
        caches_words="INFO keyspace_misses, keyspace_hits",
        database_words="pg_stat_database",
    )
