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

from diag.analysis.lock_graph import Actor, LockGraph, Wait
from diag.checks.pg_locks._way_out import called, way_out
from diag.findings import Basis, Check, Evidence, Finding, Phrase, Quantity, Severity, Subject, say
from diag.snapshots.postgres import PgLocks


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a queue is worth waking somebody."""

    waited_s: float = 5.0  # longer than the lock_timeout a careful migration sets
    critical_queue: int = 10  # backends: one small connection pool, all stuck


def judge(locks: PgLocks, limits: Limits) -> Iterator[Finding]:
    """Find the relations whose queue has waited too long."""
    graph = LockGraph(locks)
    for tag, queue in graph.queues.items():
        longest = max(wait.waited_s or 0.0 for wait in queue)
        if tag.locktype != "relation" or longest < limits.waited_s:
            continue
        relation, root = locks.relation_name(tag), graph.root(queue[0].actor)
        waiting, waited = Quantity(len(queue), "backends"), Quantity(longest, "s")
        yield Finding(
            severity=Severity.CRITICAL if len(queue) >= limits.critical_queue else Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=Subject(relation=relation, **({"pid": root} if isinstance(root, int) else {"gid": root})),
            summary=say(
                "{waiting} wait for {relation}, the longest for {waited}; {root} is in their way",
                waiting=waiting,
                relation=relation,
                waited=waited,
                root=called(root),
            ),
            evidence=(
                Evidence(name="queue length", value=waiting, source="pg_locks.granted"),
                Evidence(name="longest wait", value=waited, source="pg_locks.waitstart"),
                Evidence(name="first in line wants", value=queue[0].mode, source="pg_locks.mode"),
                *_seen(locks, "first in line", queue[0].pid),
                *_seen(locks, "in the way", root),
            ),
            ruled_out=_ruled_out(graph, queue[0], root),
            steps=tuple(way_out(locks, graph, queue, root)),
        )


def _seen(locks: PgLocks, role: str, actor: Actor) -> Iterator[Evidence]:
    backend = locks.backend(actor) if isinstance(actor, int) else None
    if backend is None:
        return
    yield Evidence(name=f"{role}: statement", value=backend.query, source="pg_stat_activity")
    if backend.state:
        yield Evidence(name=f"{role}: state", value=backend.state, source="pg_stat_activity")
    yield Evidence(name=f"{role}: client", value=backend.application_name, source="pg_stat_activity")


def _ruled_out(graph: LockGraph, head: Wait, root: Actor) -> tuple[Phrase, ...]:
    if root in graph.waits:
        return ()
    return (
        say(
            "a deadlock: the chain from pid {head} ends at {root}, which waits for nobody",
            head=head.pid,
            root=called(root),
        ),
    )


CHECK = Check(title="Lock queue on a relation", facts=PgLocks, needs=("locks",), limits=Limits(), judge=judge)
