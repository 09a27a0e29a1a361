"""One waiting lock request holds up every later request on the same relation.

A request that conflicts with a held lock waits, and later ones wait behind it, even
those the present holder would have allowed. One idle transaction and one ALTER TABLE
are enough to stop all readers of a table.

Facts    pg_locks, pg_stat_get_activity(NULL), pg_prepared_xacts; one round trip, one instant
Units    s = seconds on the server's clock; queue length counts backends
Source   PostgreSQL manual: "Explicit Locking", "pg_locks"
Blind    row locks: they show as transactionid waits, on no relation
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.lock_graph import graph_of
from diag.checks.pg_locks._troubles import NO_DEADLOCK, holds, more, seen, troubles
from diag.checks.pg_locks._way_out import called, way_out
from diag.findings import Basis, Check, Evidence, Finding, Severity, Subject, say
from diag.snapshots.postgres import PgLocks


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a queue is worth waking somebody."""

    waited_s: float = 5.0  # longer than the lock_timeout a careful migration sets
    critical_queue: int = 10  # backends: one small connection pool, all stuck


def judge(locks: PgLocks, limits: Limits) -> Iterator[Finding]:
    """Find the queues that have waited too long; queues with the same roots are one trouble."""
    graph = graph_of(locks)
    for trouble in troubles(locks, graph, lambda tag: tag.locktype == "relation"):
        if trouble.longest.value < limits.waited_s or not trouble.roots:
            continue  # without roots it is a cycle, which has a check of its own
        head, roots, waiting = trouble.main[0], trouble.roots, trouble.waiting
        relation = locks.relation_name(head.tag)
        first = roots[0]
        yield Finding(
            severity=Severity.CRITICAL if waiting.value >= limits.critical_queue else Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=Subject(relation=relation, **({"pid": first} if isinstance(first, int) else {"gid": first})),
            summary=say(
                "{waiting} waiting for {relation}{others}, the longest for {waited}; in the way: {root}{more}",
                waiting=waiting,
                relation=relation,
                others=more(len(trouble.queues), "other relations"),
                waited=trouble.longest,
                root=called(first),
                more=more(len(roots), "others"),
            ),
            evidence=(
                Evidence(name="queue length", value=waiting, source="pg_locks.granted"),
                Evidence(name="longest wait", value=trouble.longest, source="pg_locks.waitstart"),
                Evidence(name="first in line wants", value=head.mode, source="pg_locks.mode"),
                *seen(locks, "first in line", head.pid),
                *holds(graph, head, first),
                *seen(locks, "in the way", first),
            ),
            ruled_out=(NO_DEADLOCK,),
            steps=tuple(way_out(locks, graph, trouble.main, roots)),
        )


CHECK = Check(title="Lock queue on a relation", facts=PgLocks, needs=("locks",), limits=Limits(), judge=judge)
