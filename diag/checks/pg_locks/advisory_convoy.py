"""Backends wait for an advisory lock, which only its holder's program can explain.

An advisory lock is on a number that means something to the application alone. A holder that is
idle outside a transaction keeps a session-level lock: through a connection pool the next user of
that connection has it, and nobody knows to release it.

Facts    pg_locks (advisory), pg_stat_get_activity(NULL); one round trip, one instant
Units    s = seconds on the server's clock; queue length counts backends
Source   PostgreSQL manual: "Advisory Locks", "pg_locks" (classid, objid, objsubid of advisory locks)
Blind    what the number stands for
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.lock_graph import graph_of
from diag.checks.pg_locks._troubles import NO_DEADLOCK, more, seen, troubles
from diag.checks.pg_locks._way_out import called, way_out
from diag.findings import Basis, Check, Evidence, Finding, Phrase, Severity, Subject, say
from diag.snapshots.postgres import LockTag, PgLocks


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a wait for an advisory lock is worth waking somebody."""

    waited_s: float = 5.0  # job schedulers and migrations hold theirs for less, or use the try_ functions
    critical_queue: int = 10  # backends: one small connection pool, all stuck


def judge(locks: PgLocks, limits: Limits) -> Iterator[Finding]:
    """Find the advisory locks for which others have waited too long."""
    graph = graph_of(locks)
    for trouble in troubles(locks, graph, lambda tag: tag.locktype == "advisory"):
        if trouble.longest.value < limits.waited_s or not trouble.roots:
            continue
        first, waiting, head = trouble.roots[0], trouble.waiting, trouble.main[0]
        holder = locks.backend(first) if isinstance(first, int) else None
        kept = holder is not None and holder.state == "idle"
        yield Finding(
            severity=Severity.CRITICAL if waiting.value >= limits.critical_queue else Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=Subject(**({"pid": first} if isinstance(first, int) else {"gid": first})),
            summary=say(
                "{waiting} waiting for {key}{others}, the longest for {waited}; held by {root}{more}{kept}",
                waiting=waiting,
                key=_key(head.tag),
                others=more(len(trouble.queues), "other objects"),
                waited=trouble.longest,
                root=called(first),
                more=more(len(trouble.roots), "others"),
                kept=say(", which is idle: a session-level lock that nobody released") if kept else say(""),
            ),
            evidence=(
                Evidence(name="queue length", value=waiting, source="pg_locks.granted"),
                Evidence(name="longest wait", value=trouble.longest, source="pg_locks.waitstart"),
                Evidence(name="lock", value=_key(head.tag), source="pg_locks.classid, objid, objsubid"),
                *seen(locks, "held by", first),
                *seen(locks, "first in line", head.pid),
            ),
            ruled_out=(NO_DEADLOCK, say("rows, tables and DDL: the lock is advisory, on a number of the application")),
            steps=tuple(way_out(locks, graph, trouble.main, trouble.roots)),
        )


_ONE_KEY = 1  # objsubid of a bigint key; 2 for a pair of integers


def _key(tag: LockTag) -> Phrase:
    """Give the key as the functions take it; pg_locks shows the two halves of a bigint as unsigned."""
    high, low = int(tag.classid or 0), int(tag.objid or 0)
    if tag.objsubid == _ONE_KEY:
        return say("advisory lock {key}", key=_signed(high << 32 | low, 64))
    return say("advisory lock ({one}, {two})", one=_signed(high, 32), two=_signed(low, 32))


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


CHECK = Check(title="Advisory lock convoy", facts=PgLocks, needs=("locks",), limits=Limits(), judge=judge)
