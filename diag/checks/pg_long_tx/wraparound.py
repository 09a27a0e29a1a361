"""A database nears transaction ID wraparound: autovacuum does not keep up, or is kept from it.

At autovacuum_freeze_max_age autovacuum freezes old rows whatever is set. An age well past that says
that it cannot finish. Some three million transactions before 2^31 the server takes no more writes.

Facts    pg_database.datfrozenxid, datminmxid; one row for each database
Units    transactions since the oldest unfrozen one; of multixacts likewise
Source   PostgreSQL manual: "Preventing Transaction ID Wraparound Failures", "vacuum_failsafe_age"
Blind    which table it is: that needs a look into that database
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.findings import Basis, Check, Evidence, Finding, Quantity, Risk, Severity, Step, Subject, say
from diag.findings.commands import oldest_tables
from diag.snapshots.postgres import PgTransactions

_WRAPS_AT = 2**31  # transactions: half of the 32-bit circle


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How old a database may be."""

    times_freeze_max_age: float = 2.0  # at 1.0 autovacuum begins; twice that, it has not finished since
    critical_age: int = 1_600_000_000  # vacuum_failsafe_age: the server itself drops all other concerns here


def judge(facts: PgTransactions, limits: Limits) -> Iterator[Finding]:
    """Find the databases that are too old."""
    expected = facts.settings.autovacuum_freeze_max_age
    for database in sorted(facts.databases, key=lambda one: -_age(one.frozen_xid_age_transactions, one.multixact_age)):
        age = _age(database.frozen_xid_age_transactions, database.multixact_age)
        if age < min(limits.times_freeze_max_age * expected, limits.critical_age):
            continue
        left = Quantity(max(0, _WRAPS_AT - age), "transactions")
        yield Finding(
            severity=Severity.CRITICAL if age >= limits.critical_age else Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=Subject(database=database.name),
            summary=say(
                "database {database} is {age} old, {left} from wraparound; autovacuum should have begun at {expected}",
                database=database.name,
                age=Quantity(age, "transactions"),
                left=left,
                expected=Quantity(expected, "transactions"),
            ),
            evidence=(
                Evidence(
                    name="oldest transaction id",
                    value=Quantity(database.frozen_xid_age_transactions, "transactions"),
                    source="pg_database.datfrozenxid",
                ),
                Evidence(
                    name="oldest multixact",
                    value=Quantity(database.multixact_age, "multixacts"),
                    source="pg_database.datminmxid",
                ),
                Evidence(name="left before wraparound", value=left, source="2^31 minus the age"),
            ),
            steps=(_OLDEST, _VACUUM),
        )


def _age(transactions: int, multixacts: int) -> int:
    return max(transactions, multixacts)


_OLDEST = Step(
    title=say("In that database: which tables are the oldest?"),
    risk=Risk.READ_ONLY,
    command=oldest_tables(),
    expect=say("one or two tables; `diag pg-long-tx` says what holds their vacuum back, if anything does"),
)
_VACUUM = Step(
    title=say("Remove what holds vacuum back, then VACUUM (FREEZE) the oldest table"),
    risk=Risk.REVERSIBLE,
    command=None,
    expect=say("age(datfrozenxid) falls; a plain VACUUM is enough and blocks nobody, VACUUM FULL is not needed"),
)

CHECK = Check(
    title="Transaction ID wraparound", facts=PgTransactions, needs=("databases",), limits=Limits(), judge=judge
)
