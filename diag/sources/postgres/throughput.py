"""Take `PgThroughput`: what the server has done, in one row."""

from __future__ import annotations

import time

from diag.snapshots.base import Scope
from diag.snapshots.postgres import PgThroughput
from diag.sources.postgres.connection import Session, ask
from diag.sources.postgres.queries import query
from diag.sources.postgres.rows import moment, observed_at

NAMES = ("throughput",)


def pg_throughput(session: Session, scope: Scope) -> PgThroughput:
    """Read how many transactions there have been. Raises a `SourceError` when the server does not say."""
    del scope
    started = time.monotonic()
    (rows,) = ask(session, [(query("throughput", session.server_major), {})])
    return PgThroughput(
        target=session.target,
        observed_at=observed_at(rows),
        took_s=time.monotonic() - started,
        transactions=rows[0]["transactions"],
        reset_at=moment(rows[0]["reset_at"]),
        active_s=rows[0]["active_s"],
    )
