"""Backends wait for the transaction that has changed their row, and it does not end.

A second change of a row waits for the first one's transaction (`transactionid`); everybody
later waits in line for the row itself (`tuple`). The holder's work is small, its transaction
is long: most often an application that calls something else while the row is locked.

Facts    pg_locks, pg_stat_get_activity(NULL), pg_prepared_xacts; one round trip, one instant
Units    s = seconds on the server's clock; queue length counts backends
Source   PostgreSQL manual: "Row-Level Locks", "pg_locks" (transactionid, tuple)
Blind    which row it is; the other members of a multixact: a waiter waits for one of them at a time
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.lock_graph import graph_of
from diag.checks.pg_locks._troubles import NO_DEADLOCK, more, seen, troubles
from diag.checks.pg_locks._way_out import called, way_out
from diag.findings import Basis, Check, Evidence, Finding, Severity, Subject, say
from diag.snapshots.postgres import PgLocks

_OF_ROWS = ("transactionid", "tuple")


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a locked row is worth waking somebody."""

    waited_s: float = 5.0  # a change of one row takes milliseconds; a user gives up after a few seconds
    critical_queue: int = 10  # backends: one small connection pool, all stuck


def judge(locks: PgLocks, limits: Limits) -> Iterator[Finding]:
    """Find the transactions for whose end others have waited too long; a prepared one has a check of its own."""
    graph = graph_of(locks)
    for trouble in troubles(locks, graph, lambda tag: tag.locktype in _OF_ROWS):
        first = trouble.roots[0] if trouble.roots else None
        if trouble.longest.value < limits.waited_s or not isinstance(first, int):
            continue
        tags = {queue[0].tag for queue in trouble.queues if queue[0].tag.relation}
        names = sorted({locks.relation_name(tag) for tag in tags})
        waiting = trouble.waiting
        yield Finding(
            severity=Severity.CRITICAL if waiting.value >= limits.critical_queue else Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=Subject(pid=first, relation=names[0] if len(names) == 1 else None),
            summary=say(
                "{waiting} waiting for rows{where} locked by the transaction of {root}{more}, the longest for {waited}",
                waiting=waiting,
                where=say(" of {relation}{others}", relation=names[0], others=more(len(names), "other relations"))
                if names
                else say(""),
                root=called(first),
                more=more(len(trouble.roots), "others"),
                waited=trouble.longest,
            ),
            evidence=(
                Evidence(name="queue length", value=waiting, source="pg_locks.granted"),
                Evidence(name="longest wait", value=trouble.longest, source="pg_locks.waitstart"),
                *seen(locks, "in the way", first),
                *seen(locks, "first in line", trouble.main[0].pid),
            ),
            ruled_out=(NO_DEADLOCK, _NO_TABLE_LOCK),
            steps=tuple(way_out(locks, graph, trouble.main, trouble.roots)),
        )


_NO_TABLE_LOCK = say(
    "a table lock or DDL: these wait for a transaction or a row (pg_locks.locktype), not for a relation"
)

CHECK = Check(title="Rows locked by a long transaction", facts=PgLocks, needs=("locks",), limits=Limits(), judge=judge)
