"""Something old keeps VACUUM from removing dead rows: this names what, of every kind there is.

Tables grow and queries slow down although autovacuum runs: it may not remove what the oldest
snapshot, transaction, slot or standby could still see. An idle session without a snapshot is not
among these, however old it is.

Facts    pg_stat_get_activity(NULL), pg_prepared_xact(), pg_get_replication_slots(); one round trip
Units    transactions = how many have begun since the oldest one that must stay visible
Source   PostgreSQL manual: "Routine Vacuuming", "Hot Standby" (hot_standby_feedback)
Blind    how many dead rows that is; tables of other databases are not held by this one's sessions
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.open_transactions import IDLE, open_transactions
from diag.analysis.xmin_horizon import held_by, holders
from diag.checks.pg_long_tx._holders import called, source, steps, subject
from diag.checks.pg_long_tx._seen import seen
from diag.findings import Basis, Check, Evidence, Finding, Phrase, Quantity, Severity, say
from diag.snapshots.postgres import Backend, PgTransactions


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far back the horizon may lie."""

    age_transactions: int = 1_000_000  # autovacuum's 20 % of a table of five million rows, each changed once
    critical_age_transactions: int = 50_000_000  # a quarter of the default autovacuum_freeze_max_age


def judge(facts: PgTransactions, limits: Limits) -> Iterator[Finding]:
    """Find what holds the horizon back too far."""
    for holder in holders(facts):
        if holder.age_transactions < limits.age_transactions or holder.catalogs_only:
            continue
        age = Quantity(holder.age_transactions, "transactions")
        critical = holder.age_transactions >= limits.critical_age_transactions
        where = facts.database_name(holder.database) if holder.database is not None else say("every database")
        yield Finding(
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=subject(holder.who),
            summary=say(
                "{who} keeps VACUUM in {where} from removing what {age} have left dead",
                who=called(holder.who),
                where=where,
                age=age,
            ),
            evidence=(
                Evidence(name="horizon held back by", value=age, source=source(holder)),
                *(seen(facts, holder.who) if isinstance(holder.who, Backend) else ()),
            ),
            ruled_out=tuple(_innocent(facts)),
            steps=tuple(steps(holder.who)),
        )


def _innocent(facts: PgTransactions) -> Iterator[Phrase]:
    """Name the idle sessions that one would suspect first, and that hold nothing back."""
    pids = [one.pid for one, _ in open_transactions(facts) if one.state in IDLE and held_by(one) is None]
    if pids:
        others = say(" and {n} more", n=len(pids) - 1) if len(pids) > 1 else say("")
        yield say(
            "pid {pid}{others}, idle in a transaction: no snapshot and no transaction id", pid=pids[0], others=others
        )


CHECK = Check(
    title="VACUUM held back",
    facts=PgTransactions,
    needs=("backends", "prepared", "slots"),
    explains=(
        "pg-long-tx/idle-in-transaction",
        "pg-long-tx/long-transaction",
        "pg-long-tx/prepared-transaction",
        "pg-long-tx/inactive-slot",
    ),
    limits=Limits(),
    judge=judge,
)
