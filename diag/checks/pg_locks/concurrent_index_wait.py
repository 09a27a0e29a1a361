"""CREATE INDEX CONCURRENTLY (or a REINDEX) waits for a transaction that need not touch its table.

Before its index may be used it waits for every transaction in the database whose snapshot is
older, one after the other, by their virtual transaction ids. A report on quite another table
holds it up; meanwhile it keeps a lock that stops other DDL and VACUUM on its own table.

Facts    pg_locks (virtualxid), pg_stat_get_activity(NULL); one round trip, one instant
Units    s = seconds on the server's clock
Source   PostgreSQL manual: "CREATE INDEX", section "Building Indexes Concurrently"
Blind    the further transactions it will wait for after this one
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.lock_graph import graph_of
from diag.checks.pg_locks._troubles import NO_DEADLOCK, seen, troubles
from diag.checks.pg_locks._way_out import called, way_out
from diag.findings import Basis, Check, Evidence, Finding, NoCommand, Risk, Severity, Step, Subject, say
from diag.snapshots.postgres import PgLocks


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the wait is worth a look; it harms nobody by itself, so it is never critical."""

    waited_s: float = 5.0  # ordinary transactions end sooner; the build itself does not count


def judge(locks: PgLocks, limits: Limits) -> Iterator[Finding]:
    """Find who keeps a concurrent build waiting."""
    graph = graph_of(locks)
    for trouble in troubles(locks, graph, lambda tag: tag.locktype == "virtualxid"):
        if trouble.longest.value < limits.waited_s or not trouble.roots:
            continue
        builder, root = trouble.main[0], trouble.roots[0]
        at_work = locks.backend(builder.pid)
        yield Finding(
            severity=Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=Subject(**({"pid": root} if isinstance(root, int) else {"gid": root})),
            summary=say(
                "pid {builder} ({statement}) has waited {waited} for the transaction of {root} to end",
                builder=builder.pid,
                statement=at_work.query if at_work and at_work.query.raw else "its statement is hidden",
                waited=trouble.longest,
                root=called(root),
            ),
            evidence=(
                Evidence(name="waits for the end of", value=called(root), source="pg_locks.virtualxid"),
                Evidence(name="longest wait", value=trouble.longest, source="pg_locks.waitstart"),
                *seen(locks, "in the way", root),
                *seen(locks, "waiting", builder.pid),
            ),
            ruled_out=(NO_DEADLOCK, _NO_TABLE),
            steps=(*way_out(locks, graph, trouble.main, trouble.roots), _AFTER_A_CANCEL),
        )


_NO_TABLE = say("a lock on its table: it waits for a virtual transaction id, that is for a snapshot to go away")
_AFTER_A_CANCEL = Step(
    title=say("If the index build itself is cancelled: drop the INVALID index that it leaves"),
    risk=Risk.REVERSIBLE,
    command=NoCommand(
        say("its name is in the statement: DROP INDEX CONCURRENTLY name; it costs every write until then")
    ),
    expect=say("no row in pg_index with indisvalid = false"),
)

CHECK = Check(
    title="Concurrent index build waits for an old snapshot",
    facts=PgLocks,
    needs=("locks",),
    explains=("pg-locks/lock-queue",),
    limits=Limits(),
    judge=judge,
)
