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
    """Find the queues that have waited too long; queues with the same roots are one trouble."""
    graph = LockGraph(locks)
    troubles: dict[tuple[Actor, ...], list[tuple[Wait, ...]]] = {}
    for tag, queue in graph.queues.items():
        if tag.locktype == "relation" and locks.asked_for(tag):
            troubles.setdefault(graph.roots(queue[0].actor), []).append(queue)
    for roots, queues in troubles.items():
        longest = max(wait.waited_s or 0.0 for queue in queues for wait in queue)
        if longest < limits.waited_s:
            continue
        main = max(queues, key=len)
        head, relation = main[0], locks.relation_name(main[0].tag)
        first = roots[0] if roots else head.actor
        waiting = Quantity(len({wait.actor for queue in queues for wait in queue}), "backends")
        yield Finding(
            severity=Severity.CRITICAL if waiting.value >= limits.critical_queue else Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=Subject(relation=relation, **({"pid": first} if isinstance(first, int) else {"gid": first})),
            summary=say(
                "{waiting} wait for {relation}{others}, the longest for {waited}; in the way: {root}{more}",
                waiting=waiting,
                relation=relation,
                others=_more(len(queues), "other relations"),
                waited=Quantity(longest, "s"),
                root=called(first),
                more=_more(len(roots), "others"),
            ),
            evidence=(
                Evidence(name="queue length", value=waiting, source="pg_locks.granted"),
                Evidence(name="longest wait", value=Quantity(longest, "s"), source="pg_locks.waitstart"),
                Evidence(name="first in line wants", value=head.mode, source="pg_locks.mode"),
                *_seen(locks, "first in line", head.pid),
                *_seen(locks, "in the way", first),
            ),
            ruled_out=(_NO_DEADLOCK,) if roots else (),
            steps=tuple(way_out(locks, graph, main, roots)),
        )


_NO_DEADLOCK = say("a deadlock: every chain of waiting ends at somebody who waits for nobody")


def _more(count: int, what: str) -> Phrase:
    return say(" and {more} {what}", more=count - 1, what=what) if count > 1 else say("")


def _seen(locks: PgLocks, role: str, actor: Actor) -> Iterator[Evidence]:
    backend = locks.backend(actor) if isinstance(actor, int) else None
    if backend is None:
        return
    yield Evidence(name=f"{role}: statement", value=backend.query, source="pg_stat_activity")
    if backend.state:
        yield Evidence(name=f"{role}: state", value=backend.state, source="pg_stat_activity")
    yield Evidence(name=f"{role}: client", value=backend.application_name, source="pg_stat_activity")


CHECK = Check(title="Lock queue on a relation", facts=PgLocks, needs=("locks",), limits=Limits(), judge=judge)
