"""The open transactions of one instant: who, since when, and what they keep others from."""

from __future__ import annotations

from collections.abc import Iterator

from diag.analysis.xmin_horizon import held_by
from diag.snapshots.base import Row
from diag.snapshots.postgres import Backend, PgTransactions
from diag.text import ServerText, SqlText

CLIENT = "client backend"
IDLE = ("idle in transaction", "idle in transaction (aborted)")


class TransactionRow(Row, frozen=True, kw_only=True):
    """One row of `facts.transactions[]`."""

    pid: int
    database: ServerText
    state: str
    open_s: float
    state_s: float | None
    xmin_age_transactions: int | None
    holds_vacuum_back: str
    locks_held: int
    client: ServerText
    query: SqlText


def open_transactions(facts: PgTransactions) -> Iterator[tuple[Backend, float]]:
    """Yield the clients' backends in a transaction, and for how many seconds it has been open; the oldest first."""
    found = [
        (backend, open_s)
        for backend in facts.backends
        if backend.backend_type in (CLIENT, None)
        and (open_s := facts.since_s(backend.transaction_started_at)) is not None
    ]
    yield from sorted(found, key=lambda one: -one[1])


def transaction_rows(facts: PgTransactions) -> tuple[TransactionRow, ...]:
    """Return the open transactions, the oldest first."""
    return tuple(
        TransactionRow(
            target=facts.target.name,
            pid=backend.pid,
            database=facts.database_name(backend.database),
            state=backend.state or "",
            open_s=open_s,
            state_s=facts.since_s(backend.state_changed_at),
            xmin_age_transactions=held_by(backend),
            holds_vacuum_back=_held_back(held_by(backend)),
            locks_held=facts.locks_held.get(backend.pid, 0),
            client=backend.application_name,
            query=backend.query,
        )
        for backend, open_s in open_transactions(facts)
    )


def _held_back(age_transactions: int | None) -> str:
    return "no" if age_transactions is None else f"{age_transactions} transactions"
