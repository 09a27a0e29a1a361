"""A prepared transaction is in the way: it holds its locks without a backend, until somebody decides.

After PREPARE TRANSACTION nobody's session holds the locks, so no cancel, no kill and no restart
of the server releases them; only COMMIT PREPARED or ROLLBACK PREPARED does.

Facts    pg_locks (rows without a pid), pg_prepared_xact(); one round trip, one instant
Units    s = seconds on the server's clock; queue length counts backends
Source   PostgreSQL manual: "PREPARE TRANSACTION", "pg_prepared_xacts"
Blind    what its coordinator has decided: only that one knows whether to commit or to roll back
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.lock_graph import graph_of
from diag.checks.pg_locks._troubles import NO_DEADLOCK, more, seen, troubles
from diag.findings import Basis, Check, Evidence, Finding, Quantity, Risk, Severity, Step, Subject, say
from diag.findings.commands import commit_prepared, look_at_prepared, rollback_prepared
from diag.snapshots.postgres import PgLocks
from diag.text import ServerText


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When somebody who waits for a prepared transaction is worth waking somebody."""

    waited_s: float = 5.0  # a coordinator decides within milliseconds, a slow one within a second or two
    critical_queue: int = 10  # backends: one small connection pool, all stuck


def judge(locks: PgLocks, limits: Limits) -> Iterator[Finding]:
    """Find the prepared transactions at the end of a chain of waiting."""
    graph = graph_of(locks)
    known = {prepared.gid: prepared for prepared in locks.prepared}
    for trouble in troubles(locks, graph, lambda _: True):
        gids = [root for root in trouble.roots if isinstance(root, ServerText)]
        if trouble.longest.value < limits.waited_s or not gids:
            continue
        gid, waiting = gids[0], trouble.waiting
        prepared = known.get(gid)
        age = Quantity((locks.observed_at - prepared.prepared_at).total_seconds(), "s") if prepared else None
        yield Finding(
            severity=Severity.CRITICAL if waiting.value >= limits.critical_queue else Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=Subject(gid=gid),
            summary=say(
                "{waiting} waiting for the prepared transaction {gid}{more}{since}, the longest for {waited}",
                waiting=waiting,
                gid=gid,
                more=more(len(trouble.roots), "others"),
                since=say(" (prepared {age} ago)", age=age) if age else say(""),
                waited=trouble.longest,
            ),
            evidence=(
                Evidence(name="queue length", value=waiting, source="pg_locks.granted"),
                Evidence(name="longest wait", value=trouble.longest, source="pg_locks.waitstart"),
                *((Evidence(name="prepared", value=age, source="pg_prepared_xacts.prepared"),) if age else ()),
                *seen(locks, "first in line", trouble.main[0].pid),
            ),
            ruled_out=(NO_DEADLOCK, _NO_BACKEND),
            steps=tuple(_steps(gid, Quantity(len(graph.freed_by(gid)), "backends"))),
        )


_NO_BACKEND = say("a backend: the locks stand in pg_locks without a pid, so no cancel and no restart releases them")


def _steps(gid: ServerText, freed: Quantity) -> Iterator[Step]:
    expect = say("one row with owner and database; its coordinator's log says whether it was to be committed")
    yield Step(title=say("See whose it is"), risk=Risk.READ_ONLY, command=look_at_prepared(gid), expect=expect)
    for way, command in (("COMMIT", commit_prepared(gid)), ("ROLLBACK", rollback_prepared(gid))):
        yield Step(
            title=say("{way} PREPARED, if its coordinator says so; that frees {freed}", way=way, freed=freed),
            risk=Risk.DISRUPTIVE,
            command=command,
            expect=say(
                "its row is gone from pg_prepared_xacts and the queue moves; run it as its owner, in its database"
            ),
        )


CHECK = Check(
    title="Prepared transaction in the way",
    facts=PgLocks,
    needs=("locks",),
    explains=("pg-locks/lock-queue",),
    limits=Limits(),
    judge=judge,
)
