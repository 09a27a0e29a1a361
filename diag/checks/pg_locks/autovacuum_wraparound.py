"""DDL waits for an autovacuum that will not yield, because it prevents transaction ID wraparound.

An ordinary autovacuum gives up its lock as soon as somebody waits for it. One "to prevent
wraparound" does not, and when it is cancelled it comes back within a minute: the way out is to
let it finish, faster if need be, and to have the DDL wait in front of nobody.

Facts    pg_locks, pg_stat_get_activity(NULL): the worker's query text; one round trip, one instant
Units    s = seconds on the server's clock; queue length counts backends
Source   PostgreSQL manual: "Preventing Transaction ID Wraparound Failures", "The Autovacuum Daemon"
Blind    how far it is (pg_stat_progress_vacuum); without pg_monitor the text is hidden
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.lock_graph import graph_of
from diag.checks.pg_locks._troubles import NO_DEADLOCK, holds, seen, troubles
from diag.checks.pg_locks._way_out import cancellations, look
from diag.findings import Basis, Check, Evidence, Finding, Risk, Severity, Step, Subject, say
from diag.findings.commands import vacuum_progress
from diag.snapshots.postgres import Backend, PgLocks

_WORKER = "autovacuum worker"
_WILL_NOT_YIELD = "(to prevent wraparound)"


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a queue behind it is worth waking somebody."""

    waited_s: float = 5.0  # longer than the lock_timeout a careful migration sets
    critical_queue: int = 10  # backends: one small connection pool, all stuck


def judge(locks: PgLocks, limits: Limits) -> Iterator[Finding]:
    """Find the queues at whose end stands an autovacuum against wraparound."""
    graph = graph_of(locks)
    for trouble in troubles(locks, graph, lambda tag: tag.locktype == "relation"):
        workers = [worker for root in trouble.roots if isinstance(root, int) and (worker := _worker(locks, root))]
        if trouble.longest.value < limits.waited_s or not workers:
            continue
        head, waiting = trouble.main[0], trouble.waiting
        worker = workers[0]
        yield Finding(
            severity=Severity.CRITICAL if waiting.value >= limits.critical_queue else Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=Subject(pid=worker.pid, relation=locks.relation_name(head.tag)),
            summary=say(
                "{waiting} waiting for {relation}, the longest for {waited}, behind an autovacuum (pid {pid}) that"
                " prevents wraparound and does not yield",
                waiting=waiting,
                relation=locks.relation_name(head.tag),
                waited=trouble.longest,
                pid=worker.pid,
            ),
            evidence=(
                Evidence(name="queue length", value=waiting, source="pg_locks.granted"),
                Evidence(name="longest wait", value=trouble.longest, source="pg_locks.waitstart"),
                Evidence(name="first in line wants", value=head.mode, source="pg_locks.mode"),
                *holds(graph, head, worker.pid),
                *seen(locks, "in the way", worker.pid),
                *seen(locks, "first in line", head.pid),
            ),
            ruled_out=(NO_DEADLOCK, say("an ordinary autovacuum: that one would have ended by itself within a second")),
            steps=(look(worker.pid), *cancellations(locks, graph, trouble.main), _LET_IT_FINISH),
        )


_LET_IT_FINISH = Step(
    title=say("Let it finish, then run the DDL; do not cancel the vacuum: it begins again from the start"),
    risk=Risk.READ_ONLY,
    command=vacuum_progress(),
    expect=say("heap_blks_scanned nears heap_blks_total; autovacuum_vacuum_cost_delay = 0 and a reload hurry it"),
)


def _worker(locks: PgLocks, pid: int) -> Backend | None:
    found = locks.backend(pid)
    return found if found and found.backend_type == _WORKER and _WILL_NOT_YIELD in found.query.raw else None


CHECK = Check(
    title="DDL waits for an autovacuum against wraparound",
    facts=PgLocks,
    needs=("locks", "backends"),
    explains=("pg-locks/lock-queue",),
    limits=Limits(),
    judge=judge,
)
