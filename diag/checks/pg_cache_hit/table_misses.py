"""One table makes most of the misses, by reading it whole again and again: an index is not used.

Sequential scans rise while its indexes stand still: an index was dropped, is INVALID since a
concurrent build failed, or the planner has turned away from it. One scan may be a report.

Facts    pg_stat_get_blocks_*, pg_stat_get_numscans, pg_index.indisvalid, two readings or more
Units    blocks read; scans of the whole table in the window; ratio = share of all the blocks read in the database
Source   PostgreSQL manual: "pg_statio_all_tables", "pg_stat_all_tables", "CREATE INDEX" (INVALID)
Blind    which statement scans: pg_stat_statements or the application knows
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.buffer_cache import Use, relations_used, used, whole_reads
from diag.findings import Basis, Check, Evidence, Finding, Quantity, Risk, Severity, Step, Subject, say
from diag.findings.commands import indexes_of
from diag.snapshots.base import Window
from diag.snapshots.postgres import PgCache, RelationCounters


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a table's reads are a burden, and a stream of scans rather than one."""

    share_ratio: float = 0.5  # of all blocks read: this one table is where to look
    reads_per_s: float = 1000.0  # 8 MB/s: less is no burden for any disk
    scans: int = 3  # of the whole table in the window: one is a report, two are a report and its repetition


def judge(window: Window[PgCache], limits: Limits) -> Iterator[Finding]:
    """Find the table that is read whole, over and over."""
    whole, each = used(window), list(relations_used(window))
    for table, use in each:
        times = whole_reads(table, use)
        if table.table is not None or times < limits.scans or window.span_s <= 0:
            continue
        if use.reads < max(limits.share_ratio * whole.reads, limits.reads_per_s * window.span_s):
            continue
        indexes = [(index, its) for index, its in each if index.table == table.oid]
        invalid = [index for index, _ in indexes if not index.valid]
        yield Finding(
            severity=Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=Subject(database=window.last.database_name, relation=table.name),
            summary=say(
                "{table} was read whole {scans} in {span}, and makes {share} of all blocks read{invalid}",
                table=table.name,
                scans=Quantity(times, "times"),
                span=Quantity(window.span_s, "s"),
                share=Quantity(use.reads / whole.reads if whole.reads else 1.0, "ratio"),
                invalid=say("; its index {index} is INVALID", index=invalid[0].name) if invalid else say(""),
            ),
            evidence=tuple(_evidence(use, indexes)),
            ruled_out=(say("a report: that reads a table once, not {n} times", n=times),),
            steps=tuple(_steps(table, invalid)),
        )


def _evidence(use: Use, indexes: list[tuple[RelationCounters, Use]]) -> Iterator[Evidence]:
    yield Evidence(name="blocks read", value=Quantity(use.reads, "blocks"), source="pg_statio_all_tables, window")
    yield Evidence(name="sequential scans", value=Quantity(use.scans, "scans"), source="pg_stat_all_tables, window")
    by_index = Quantity(sum(its.scans for _, its in indexes), "scans")
    yield Evidence(name="scans by index", value=by_index, source="pg_stat_all_indexes, window")


def _steps(table: RelationCounters, invalid: list[RelationCounters]) -> Iterator[Step]:
    yield Step(
        title=say("See which indexes it has, and what was dropped or released when this began"),
        risk=Risk.READ_ONLY,
        command=indexes_of(table.oid),
        expect=say("an index that is gone, INVALID, or no longer fits the query"),
    )
    if invalid:
        yield Step(
            title=say("Build {index} again: it is INVALID, maintained and never used", index=invalid[0].name),
            risk=Risk.REVERSIBLE,
            expect=say("REINDEX INDEX CONCURRENTLY (from 12) makes it valid, and sequential scans stand still"),
        )


CHECK = Check(
    title="A table read whole again and again",
    facts=Window[PgCache],
    needs=("relations",),
    explains=("pg-cache-hit/low-hit-ratio",),
    min_frames=2,
    limits=Limits(),
    judge=judge,
)
