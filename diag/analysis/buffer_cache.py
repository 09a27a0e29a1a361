"""What the buffer cache did between two readings: never totals since a reset, which hide the present.

A block that is not in shared buffers is "read" from the operating system, which may well have it
in memory: only the time of a read tells. Source: PostgreSQL manual, "Monitoring Database Activity"
(pg_stat_database, pg_statio_all_tables, pg_stat_io), "track_io_timing".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from diag.snapshots.base import Row, Window
from diag.snapshots.postgres import CacheCounters, PgCache, RelationCounters
from diag.text import ServerText

FAST_S_PER_BLOCK: Final = 0.000_05  # seconds: 0.05 ms is memory of the operating system; a disk takes 0.1 ms and more
_FILLS: Final = 2.0  # times over, before what is in the cache is what is used, and no longer what came first
_BULK_RATIO: Final = 0.5  # of all reads: then large sequential scans make the ratio


class Use(Struct, frozen=True, kw_only=True):
    """Blocks asked for in a span: hits, reads, the seconds all reads took, and the scans that asked for them."""

    hits: int
    reads: int
    read_time_s: float
    scans: int = 0

    @property
    def hit_ratio(self) -> float | None:
        """The share found in shared buffers, 0 to 1; None when nothing was asked for."""
        asked = self.hits + self.reads
        return self.hits / asked if asked else None

    @property
    def read_s_per_block(self) -> float | None:
        """The mean time of one read in seconds; None when it was not measured."""
        return self.read_time_s / self.reads if self.reads and self.read_time_s else None


def used(window: Window[PgCache]) -> Use:
    """Return what the connected database asked for; zero when its statistics were reset meanwhile."""
    return _between(window.first.counters, window.last.counters)


def relations_used(window: Window[PgCache]) -> Iterator[tuple[RelationCounters, Use]]:
    """Yield what was asked of each relation, the most read first."""
    before = {one.oid: one for one in window.first.relations}
    found = []
    for one in window.last.relations:
        earlier = before.get(one.oid)
        if earlier is not None:
            use = _between(earlier.counters, one.counters, one.scans - earlier.scans)
            found.append((one, use))
    yield from sorted(found, key=lambda pair: -pair[1].reads)


def whole_reads(table: RelationCounters, use: Use) -> int:
    """Return how often a table was read whole: a parallel scan is counted once for each of its workers."""
    return min(use.scans, round((use.hits + use.reads) / table.pages)) if table.pages else use.scans


def _between(before: CacheCounters, after: CacheCounters, scans: int = 0) -> Use:
    if after.hits < before.hits or after.reads < before.reads:
        return Use(hits=0, reads=0, read_time_s=0.0)
    return Use(
        hits=after.hits - before.hits,
        reads=after.reads - before.reads,
        read_time_s=max(0.0, after.read_time_s - before.read_time_s),
        scans=max(0, scans),
    )


def harmless_because(window: Window[PgCache]) -> str:
    """Say why a low ratio would not matter here; empty when it may."""
    use, last = used(window), window.last
    if window.span_s <= 0 or not use.reads:
        return "nothing was read"
    per_block_s = use.read_s_per_block
    if per_block_s is not None and per_block_s < FAST_S_PER_BLOCK:
        return "the operating system had the blocks in memory"
    if last.uptime_s * use.reads / window.span_s < _FILLS * last.shared_buffers:
        return "the cache is still cold: it cannot have been filled since the server started"
    if bulk_ratio(window) >= _BULK_RATIO:
        return "large sequential scans, which pass the cache by"
    return ""


def bulk_ratio(window: Window[PgCache]) -> float:
    """Return the share of the server's reads that were bulk reads; 0 before PostgreSQL 16."""
    reads = {
        context: after.reads - window.first.contexts[context].reads
        for context, after in window.last.contexts.items()
        if context in window.first.contexts
    }
    every = sum(reads.values())
    return max(0.0, reads.get("bulkread", 0) / every) if every > 0 else 0.0


class CacheRow(Row, frozen=True, kw_only=True):
    """One row of `facts.hit_ratios[]`: the database first, then its most read relations."""

    relation: ServerText
    hit_ratio: float | None
    reads: int
    reads_per_s: float
    read_s_per_block: float | None
    scans: int | None
    note: str


_MOST_ROWS: Final = 20  # a table for reading: whatever comes later is read less than these


def cache_rows(window: Window[PgCache]) -> tuple[CacheRow, ...]:
    """Return the database and its most read relations."""
    whole = used(window)
    rows = [_row(window, ServerText("(the database)"), whole, None, harmless_because(window))]
    for relation, use in relations_used(window):
        if use.reads and len(rows) <= _MOST_ROWS:
            note = "" if relation.valid else "INVALID index"
            rows.append(_row(window, relation.name, use, use.scans, note))
    return tuple(rows)


def _row(window: Window[PgCache], name: ServerText, use: Use, scans: int | None, note: str) -> CacheRow:
    return CacheRow(
        target=window.last.target.name,
        relation=name,
        hit_ratio=use.hit_ratio,
        reads=use.reads,
        reads_per_s=use.reads / window.span_s if window.span_s > 0 else 0.0,
        read_s_per_block=use.read_s_per_block,
        scans=scans,
        note=note,
    )
