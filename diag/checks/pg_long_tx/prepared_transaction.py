"""A prepared transaction waits for a decision: it keeps its locks and the xmin horizon without a session.

Nobody's disconnect and no restart ends it. It is not in pg_stat_activity, so most tools do not show it.

Facts    pg_prepared_xact(); one round trip
Units    s = seconds on the server's clock; transactions = its age, held back from VACUUM
Source   PostgreSQL manual: "PREPARE TRANSACTION", "pg_prepared_xacts"
Blind    what its coordinator has decided
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.findings import Basis, Check, Evidence, Finding, Quantity, Risk, Severity, Step, Subject, say
from diag.findings.commands import commit_prepared, look_at_prepared, rollback_prepared
from diag.snapshots.postgres import PgTransactions, PreparedTransaction


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a prepared transaction counts as forgotten."""

    prepared_s: float = 60.0  # a coordinator decides within milliseconds; a minute is a crash of it, or of a person
    critical_prepared_s: float = 86_400.0  # a day of dead rows, which nothing but a decision will let go


def judge(facts: PgTransactions, limits: Limits) -> Iterator[Finding]:
    """Find the prepared transactions that nobody decides."""
    for prepared in sorted(facts.prepared, key=lambda one: one.prepared_at):
        waits_s = facts.since_s(prepared.prepared_at) or 0.0
        if waits_s < limits.prepared_s:
            continue
        yield Finding(
            severity=Severity.CRITICAL if waits_s >= limits.critical_prepared_s else Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=Subject(gid=prepared.gid),
            summary=say(
                "the prepared transaction {gid} has waited {waits} for COMMIT PREPARED or ROLLBACK PREPARED",
                gid=prepared.gid,
                waits=Quantity(waits_s, "s"),
            ),
            evidence=tuple(_evidence(facts, prepared, waits_s)),
            ruled_out=(say("a session that could be ended: it belongs to none, and survives a restart"),),
            steps=tuple(_steps(prepared)),
        )


def _evidence(facts: PgTransactions, prepared: PreparedTransaction, waits_s: float) -> Iterator[Evidence]:
    source = "pg_prepared_xacts"
    oid = int(prepared.database.raw) if prepared.database.raw.isdigit() else None
    yield Evidence(name="prepared", value=Quantity(waits_s, "s"), source=source)
    yield Evidence(name="database", value=facts.database_name(oid), source=source)
    if prepared.age_transactions is not None:
        age = Quantity(prepared.age_transactions, "transactions")
        yield Evidence(name="holds vacuum back by", value=age, source=source)


def _steps(prepared: PreparedTransaction) -> Iterator[Step]:
    yield Step(
        title=say("See whose it is, and ask its coordinator's log what was decided"),
        risk=Risk.READ_ONLY,
        command=look_at_prepared(prepared.gid),
        expect=say("owner and database; the gid usually names the program"),
    )
    for way, command in (("COMMIT", commit_prepared(prepared.gid)), ("ROLLBACK", rollback_prepared(prepared.gid))):
        yield Step(
            title=say("{way} PREPARED, if its coordinator says so", way=way),
            risk=Risk.DISRUPTIVE,
            command=command,
            expect=say("run by its owner in its database; pg_prepared_xacts no longer has it"),
        )


CHECK = Check(
    title="Prepared transaction left undecided", facts=PgTransactions, needs=("prepared",), limits=Limits(), judge=judge
)
