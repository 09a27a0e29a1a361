"""Take `PgTransactions`: backends, prepared transactions, slots, limits and databases in one round trip."""

from __future__ import annotations

import time

from diag.snapshots.base import Scope
from diag.snapshots.postgres import (
    Backend,
    ConnectionSettings,
    Database,
    PgTransactions,
    PreparedTransaction,
    ReplicationSlot,
)
from diag.sources.postgres.connection import Session, ask_or_less, typed
from diag.sources.postgres.queries import query
from diag.sources.postgres.rows import (
    dated,
    elsewhere,
    gap,
    hidden_backends,
    observed_at,
    prepared_row,
    shown,
    with_leaders,
    without_ours,
)

NAMES = ("server", "transactions", "locks_held", "prepared", "slots", "limits")


def pg_transactions(session: Session, scope: Scope) -> PgTransactions:
    """Read who has a transaction open, and for how long. Raises a `SourceError` when even that is not possible."""
    del scope
    started = time.monotonic()
    asked: list[tuple[str, dict[str, object]]] = [
        (query(name, session.server_major), {}) for name in (*NAMES, "databases")
    ]
    (server, backends, locks_held, prepared, slots, limits, *rest), error = ask_or_less(session, asked, asked[:-1])
    gaps = [gap("databases", "names, ages and deadlocks of the databases", error.message, error.fix)] if error else []
    database, others = without_ours(with_leaders(backends))
    return PgTransactions(
        target=session.target,
        observed_at=observed_at(server),
        took_s=time.monotonic() - started,
        gaps=(*gaps, *hidden_backends(others), *elsewhere(session, "databases")),
        database=database,
        standby=bool(limits[0].pop("standby")),
        backends=typed([shown(row) for row in others], Backend),
        settings=typed(limits, ConnectionSettings)[0],
        locks_held={row["pid"]: row["locks"] for row in locks_held},
        prepared=typed([prepared_row(row) for row in prepared], PreparedTransaction),
        slots=typed([dated(slot) for slot in slots], ReplicationSlot),
        databases=typed(rest[0] if rest else [], Database),
    )
