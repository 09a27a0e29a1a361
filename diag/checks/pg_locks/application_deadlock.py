"""A program seems to wait for itself: it holds a lock on one connection and wants it on another.

PostgreSQL sees one waiter and one idle holder, no cycle, and will wait for ever. The signs: the
same client address and application name, a holder that is idle in its transaction, and a waiter
that asked right after the holder fell silent.

Facts    pg_locks, pg_stat_get_activity(NULL); one round trip, one instant
Units    s = seconds on the server's clock
Source   PostgreSQL manual: "Deadlocks" (long open transactions), "pg_stat_activity"
Blind    whether it is one thread: behind a pooler all clients share one address, hence a hypothesis
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.lock_graph import graph_of
from diag.checks.pg_locks._troubles import held_by_one, seen, silent_before_s
from diag.checks.pg_locks._way_out import endings, look
from diag.findings import Basis, Check, Evidence, Finding, NoCommand, Quantity, Risk, Severity, Step, Subject, say
from diag.snapshots.postgres import PgLocks


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How alike and how close in time the two must be."""

    waited_s: float = 5.0  # one thread that waits for another of the same program takes milliseconds
    between_s: float = 1.0  # from the holder's last answer to the waiter's request: one step of a program
    most_waiters: int = 2  # more are a pool that competes for a row, and no thread waiting for itself


def judge(locks: PgLocks, limits: Limits) -> Iterator[Finding]:
    """Find waiters that look like the same thread as the idle holder they wait for."""
    graph = graph_of(locks)
    for root, first in held_by_one(graph).items():
        holder, waiter = locks.backend(root), locks.backend(first.pid)
        if holder is None or waiter is None:
            continue
        gap_s = silent_before_s(locks, holder, first)
        alike = holder.client_address == waiter.client_address and holder.application_name == waiter.application_name
        idle = holder.state == "idle in transaction"
        waited_s = first.waited_s or 0.0
        if not (alike and idle and waited_s >= limits.waited_s and 0 <= gap_s <= limits.between_s):
            continue
        if len(graph.freed_by(root)) > limits.most_waiters:
            continue
        yield Finding(
            severity=Severity.WARNING,
            basis=Basis.HYPOTHESIS,
            subject=Subject(pid=root),
            summary=say(
                "pid {waiter} of {client} has waited {waited} for pid {holder} of the same program, idle in its"
                " transaction: it may wait for itself",
                waiter=first.pid,
                client=waiter.application_name,
                waited=Quantity(waited_s, "s"),
                holder=root,
            ),
            evidence=(
                Evidence(
                    name="holder silent before the request", value=Quantity(gap_s, "s"), source="pg_stat_activity"
                ),
                *seen(locks, "holds", root),
                *seen(locks, "waits", first.pid),
            ),
            ruled_out=(say("a deadlock that the server can see: the holder waits for nothing inside the server"),),
            steps=(look(root), *endings(locks, graph, (root,)), _ONE_CONNECTION),
        )


_ONE_CONNECTION = Step(
    title=say("Let the program do all of a transaction on the connection that began it"),
    risk=Risk.READ_ONLY,
    command=NoCommand(
        say("it is a change of the application; idle_in_transaction_session_timeout bounds it until then")
    ),
    expect=say("no second connection of a thread while its transaction is open"),
)

CHECK = Check(
    title="A program waits for itself",
    facts=PgLocks,
    needs=("locks", "backends"),
    explains=("pg-locks/row-contention", "pg-locks/lock-queue", "pg-locks/advisory-convoy"),
    limits=Limits(),
    judge=judge,
)
