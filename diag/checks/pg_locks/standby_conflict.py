"""On a standby, replay waits for a reader, and everybody else waits behind the replay.

The startup process wants the ACCESS EXCLUSIVE lock that DDL took on the primary; a reader here
holds the table. Until max_standby_streaming_delay has passed (then readers are cancelled),
nothing is replayed, and new readers queue. `pg_blocking_pids` names nobody for the startup
process; the lock modes do. It is never to be ended: the whole server goes with it.

Facts    pg_locks, pg_stat_get_activity(NULL), pg_is_in_recovery(); one round trip, one instant
Units    s = seconds on the server's clock; queue length counts backends
Source   PostgreSQL manual: "Handling Query Conflicts", "max_standby_streaming_delay"
Blind    conflicts with snapshots and buffer pins: they take no lock
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.lock_graph import graph_of
from diag.checks.pg_locks._troubles import holds, more, seen
from diag.checks.pg_locks._way_out import called, endings, look
from diag.findings import Basis, Check, Evidence, Finding, NoCommand, Quantity, Risk, Severity, Step, Subject, say
from diag.snapshots.postgres import PgLocks

_STARTUP = "startup"


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When replay that stands still is worth waking somebody."""

    waited_s: float = 5.0  # replay of a lock takes milliseconds; reads on this standby are that much older
    critical_queue: int = 10  # backends: one small connection pool, all stuck


def judge(locks: PgLocks, limits: Limits) -> Iterator[Finding]:
    """Find who keeps replay waiting, if it waits."""
    startup = next((backend for backend in locks.backends if backend.backend_type == _STARTUP), None)
    graph = graph_of(locks)
    wait = graph.waits.get(startup.pid) if startup else None
    if startup is None or wait is None or not locks.asked_for(wait.tag):
        return
    queue = graph.queues[wait.tag]
    waited_s = max(one.waited_s or 0.0 for one in queue)
    readers = [root for root in graph.roots(startup.pid) if isinstance(root, int)]  # a standby has no prepared ones
    if waited_s < limits.waited_s or not readers:
        return
    behind = Quantity(len({one.actor for one in queue} - {startup.pid}), "backends")
    first = readers[0]
    yield Finding(
        severity=Severity.CRITICAL if behind.value >= limits.critical_queue else Severity.WARNING,
        basis=Basis.OBSERVED,
        subject=Subject(relation=locks.relation_name(wait.tag), pid=first),
        summary=say(
            "replay on this standby has waited {waited} for {relation}, held by {root}{more}; {behind} wait behind it",
            waited=Quantity(waited_s, "s"),
            relation=locks.relation_name(wait.tag),
            root=called(first),
            more=more(len(readers), "others"),
            behind=behind,
        ),
        evidence=(
            Evidence(name="replay waits for", value=wait.mode, source="pg_locks, startup process"),
            Evidence(name="longest wait", value=Quantity(waited_s, "s"), source="pg_locks.waitstart"),
            Evidence(name="queue length", value=Quantity(len(queue), "backends"), source="pg_locks.granted"),
            *holds(graph, wait, first),
            *seen(locks, "in the way", first),
        ),
        ruled_out=(say("the startup process as the root: it waits itself, and must never be ended"),),
        steps=(look(first), _WHO_DECIDES, *endings(locks, graph, readers)),
    )


_WHO_DECIDES = Step(
    title=say("Or wait: after max_standby_streaming_delay the server itself cancels the readers in the way"),
    risk=Risk.READ_ONLY,
    command=NoCommand(say("SHOW max_standby_streaming_delay; -1 means that replay waits for ever")),
    expect=say("the wait of the startup process ends; the reader sees a conflict with recovery"),
)

CHECK = Check(
    title="Replay on a standby waits for a reader",
    facts=PgLocks,
    needs=("locks", "backends"),
    explains=("pg-locks/lock-queue", "pg-locks/row-contention"),
    limits=Limits(),
    judge=judge,
)
