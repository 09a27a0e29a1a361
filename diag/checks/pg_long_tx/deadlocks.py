"""The server cancels transactions in deadlocks, now: the counter rises while one looks.

Each deadlock costs one transaction and a second of waiting for all in it. Two code paths take the
same things in different orders; the server's log has both statements of each.

Facts    pg_stat_get_db_deadlocks(oid), two readings or more
Units    deadlocks between the readings; per minute
Source   PostgreSQL manual: "Deadlocks", "pg_stat_database"
Blind    which statements: the counter has no names (`diag pg-locks` shows a cycle while it lasts)
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.findings import (
    Basis,
    Check,
    Evidence,
    Finding,
    Quantity,
    Risk,
    Severity,
    ShellCommand,
    Step,
    Subject,
    say,
)
from diag.snapshots.base import Window
from diag.snapshots.postgres import PgTransactions


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many are too many; one may be chance."""

    deadlocks: int = 1  # in a look of seconds: a pair that meets once a day is not seen
    critical_per_minute: float = 60.0  # one a second: each takes a connection for deadlock_timeout, 1 s by default


def judge(window: Window[PgTransactions], limits: Limits) -> Iterator[Finding]:
    """Find the databases whose counter rises; one that falls was reset."""
    before = {database.oid: database.deadlocks for database in window.first.databases}
    for database in window.last.databases:
        rise = database.deadlocks - before.get(database.oid, database.deadlocks)
        if rise < limits.deadlocks or window.span_s <= 0:
            continue
        per_minute = rise * 60.0 / window.span_s
        yield Finding(
            severity=Severity.CRITICAL if per_minute >= limits.critical_per_minute else Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=Subject(database=database.name),
            summary=say(
                "{rise} in database {database} within {span}: the server cancelled a transaction in each",
                rise=Quantity(rise, "deadlocks"),
                database=database.name,
                span=Quantity(window.span_s, "s"),
            ),
            evidence=(
                Evidence(name="deadlocks", value=Quantity(rise, "deadlocks"), source="pg_stat_database.deadlocks"),
                Evidence(name="per minute", value=round(per_minute, 1), source="the same, over the window"),
            ),
            steps=(_CATCH_ONE, _READ_THE_LOG, _ONE_ORDER),
        )


_CATCH_ONE = Step(
    title=say("Try to see one while it lasts"),
    risk=Risk.READ_ONLY,
    command=ShellCommand(("diag", "pg-locks", "--only", "pg-locks/deadlock-cycle", "--samples", "1", "--watch", "0.5")),
    expect=say("the cycle with both statements; the server ends it after deadlock_timeout"),
)
_READ_THE_LOG = Step(
    title=say("Search the server's log for 'deadlock detected': each is there with all its statements"),
    risk=Risk.READ_ONLY,
    expect=say("a DETAIL line with every process, its statement and whom it waited for"),
)
_ONE_ORDER = Step(
    title=say("Let every code path lock in the same order: SELECT … ORDER BY key FOR UPDATE before the changes"),
    risk=Risk.READ_ONLY,
    expect=say("the counter stands still; raising deadlock_timeout would only make each one last longer"),
)

CHECK = Check(
    title="Deadlocks",
    facts=Window[PgTransactions],
    needs=("databases",),
    min_frames=2,
    limits=Limits(),
    judge=judge,
)
