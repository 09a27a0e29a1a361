"""A transaction has been open for long, and its session is at work.

Long work is not wrong: a backup, a report, a migration. What it costs is said here: the locks that
it keeps, and the dead rows that VACUUM may not remove meanwhile.

Facts    pg_stat_get_activity(NULL), pg_locks; one round trip
Units    s = seconds on the server's clock; transactions = age of the snapshot
Source   PostgreSQL manual: "pg_stat_activity", "Routine Vacuuming"
Blind    how much longer it will take; sessions of other roles without pg_monitor
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.open_transactions import IDLE, open_transactions
from diag.checks.pg_long_tx._seen import end, held_back, look, seen
from diag.findings import Basis, Check, Finding, Quantity, Severity, Subject, say
from diag.snapshots.postgres import PgTransactions


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an open transaction is worth a look; it is never critical by its age alone."""

    open_s: float = 900.0  # requests take seconds, batches minutes; a quarter of an hour is a report or a mistake


def judge(facts: PgTransactions, limits: Limits) -> Iterator[Finding]:
    """Find the transactions open for too long, other than the idle ones."""
    for backend, open_s in open_transactions(facts):
        if backend.state in IDLE or open_s < limits.open_s:
            continue
        yield Finding(
            severity=Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=Subject(pid=backend.pid, database=facts.database_name(backend.database)),
            summary=say(
                "pid {pid} of {client} has had a transaction open for {open}, with {locks}; holds vacuum back: {held}",
                pid=backend.pid,
                client=backend.application_name,
                open=Quantity(open_s, "s"),
                locks=Quantity(facts.locks_held.get(backend.pid, 0), "locks"),
                held=held_back(backend),
            ),
            evidence=tuple(seen(facts, backend)),
            ruled_out=(say("a forgotten session: it is at work ({state})", state=backend.state or "state hidden"),),
            steps=(look(backend), end(backend)),
        )


CHECK = Check(
    title="Transaction open for long", facts=PgTransactions, needs=("backends",), limits=Limits(), judge=judge
)
