"""A session sits idle in an open transaction: its program does something else, or has forgotten it.

It keeps its locks and its connection. Whether it also keeps VACUUM from its work is another
question, answered here by its snapshot and transaction id: a READ COMMITTED session that has only
read holds neither.

Facts    pg_stat_get_activity(NULL), pg_locks; one round trip
Units    s = seconds on the server's clock; locks = granted locks of the session
Source   PostgreSQL manual: "pg_stat_activity", "idle_in_transaction_session_timeout"
Blind    sessions of other roles without pg_monitor; what the program is waiting for
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.open_transactions import IDLE, open_transactions
from diag.analysis.xmin_horizon import held_by
from diag.checks.pg_long_tx._seen import behind_a_pooler, end, look, seen
from diag.findings import Basis, Check, Finding, NoCommand, Quantity, Risk, Severity, Step, Subject, say
from diag.snapshots.postgres import PgTransactions


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an idle transaction is worth a look, and when it is worth waking somebody."""

    idle_s: float = 60.0  # one slow call to another service; a person thinking, not a program at work
    critical_idle_s: float = 3600.0  # with locks or a snapshot for an hour, every migration and vacuum suffers


def judge(facts: PgTransactions, limits: Limits) -> Iterator[Finding]:
    """Find the sessions that have been idle in their transaction for too long."""
    for backend, open_s in open_transactions(facts):
        idle_s = facts.since_s(backend.state_changed_at)
        if backend.state not in IDLE or idle_s is None or idle_s < limits.idle_s:
            continue
        locks = facts.locks_held.get(backend.pid, 0)
        harmful = locks > 0 or held_by(backend) is not None
        yield Finding(
            severity=Severity.CRITICAL if harmful and idle_s >= limits.critical_idle_s else Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=Subject(pid=backend.pid, database=facts.database_name(backend.database)),
            summary=say(
                "pid {pid} of {client} has been idle in a transaction for {idle} (open for {open}), holding {locks}",
                pid=backend.pid,
                client=backend.application_name,
                idle=Quantity(idle_s, "s"),
                open=Quantity(open_s, "s"),
                locks=Quantity(locks, "locks"),
            ),
            evidence=tuple(seen(facts, backend)),
            ruled_out=() if held_by(backend) is not None else (_INNOCENT_OF_BLOAT,),
            steps=(look(backend), *behind_a_pooler(facts, backend), end(backend), _BOUND_IT),
        )


_INNOCENT_OF_BLOAT = say("holding VACUUM back: it has neither a snapshot nor a transaction id")
_BOUND_IT = Step(
    title=say("Bound it for that role: idle_in_transaction_session_timeout"),
    risk=Risk.REVERSIBLE,
    command=NoCommand(say("ALTER ROLE name SET idle_in_transaction_session_timeout = '5min'; for new sessions only")),
    expect=say("the server itself ends such sessions, and the program sees an error"),
)

CHECK = Check(
    title="Session idle in a transaction",
    facts=PgTransactions,
    needs=("backends",),
    explains=("pg-long-tx/long-transaction",),
    limits=Limits(),
    judge=judge,
)
