"""The buffer cache misses often, now, and it matters: what is used does not fit into shared buffers.

Over a window, not since a reset. A low ratio is silent where it is harmless: reads that the
operating system had in memory, a cache that cannot have filled since the start, bulk reads.

Facts    pg_stat_get_db_blocks_*, pg_stat_get_io (from 16), two readings or more
Units    ratio = blocks found of blocks asked for; s = seconds for one block, with track_io_timing
Source   PostgreSQL manual: "pg_stat_database", "pg_stat_io", "shared_buffers", "track_io_timing"
Blind    statements still running: they report when they end; without track_io_timing, the disk
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.buffer_cache import bulk_ratio, harmless_because, used
from diag.findings import Basis, Check, Evidence, Finding, Phrase, Quantity, Risk, Severity, Step, Subject, say
from diag.snapshots.base import Window
from diag.snapshots.postgres import PgCache


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When misses are many, and when they cost much."""

    hit_ratio: float = 0.95  # where the working set fits, 0.99 and more is usual
    reads_per_s: float = 1000.0  # 8 MB/s: less is no burden for any disk
    critical_reading: float = 4.0  # backends that wait for a read at any instant: half of a small server's cores


def judge(window: Window[PgCache], limits: Limits) -> Iterator[Finding]:
    """Find out whether misses are many and matter."""
    use, last = used(window), window.last
    if use.hit_ratio is None or use.hit_ratio >= limits.hit_ratio or harmless_because(window):
        return
    reads_per_s, reading = use.reads / window.span_s, use.read_time_s / window.span_s
    if reads_per_s < limits.reads_per_s:
        return
    reads = Quantity(round(reads_per_s), "blocks")
    filled = round(last.uptime_s * reads_per_s / last.shared_buffers)
    yield Finding(
        severity=Severity.CRITICAL if reading >= limits.critical_reading else Severity.WARNING,
        basis=Basis.OBSERVED,
        subject=Subject(database=last.database_name),
        summary=say(
            "database {database} finds {ratio} of its blocks in shared buffers and reads {reads} a second; {cost}",
            database=last.database_name,
            ratio=Quantity(use.hit_ratio, "ratio"),
            reads=reads,
            cost=_cost(use.read_s_per_block),
        ),
        evidence=(
            Evidence(name="hit ratio", value=Quantity(use.hit_ratio, "ratio"), source="pg_stat_database, window"),
            Evidence(name="read a second", value=reads, source="pg_stat_database, window"),
            *((_bulk(window),) if last.contexts else ()),
        ),
        ruled_out=(
            say("a cold cache: {up} at this rate fill it {n} times", up=Quantity(last.uptime_s, "s"), n=filled),
            *((say("memory of the operating system: a read takes longer"),) if use.read_s_per_block else ()),
        ),
        steps=(_WHICH, *(() if last.track_io_timing else (_TIME_IT,))),
    )


def _bulk(window: Window[PgCache]) -> Evidence:
    return Evidence(name="bulk reads", value=Quantity(bulk_ratio(window), "ratio"), source="pg_stat_io, window")


def _cost(per_block_s: float | None) -> Phrase:
    if per_block_s is None:
        return say("how long a read takes is not measured (track_io_timing is off)")
    return say("a read takes {each}", each=Quantity(per_block_s, "s"))


_WHICH = Step(
    title=say("See below which tables it is, and what has changed there: a release, a report, an index"),
    risk=Risk.READ_ONLY,
    expect=say("most reads on a few relations: mend those before giving more memory, which needs a restart"),
)
_TIME_IT = Step(
    title=say("Measure the reads: track_io_timing = on, by a reload"),
    risk=Risk.REVERSIBLE,
    expect=say("the time for a block: below 0.05 ms the operating system has them, and nothing needs doing"),
)
CHECK = Check(title="Buffer cache misses", facts=Window[PgCache], needs=(), min_frames=2, limits=Limits(), judge=judge)
