"""Take `PgCache`: the counters of the buffer cache and of the relations in one round trip."""

from __future__ import annotations

import time
from typing import Any

from diag.errors import Rung, TooSlow
from diag.snapshots.base import Scope
from diag.snapshots.postgres import CacheCounters, PgCache, RelationCounters
from diag.sources.postgres.connection import Session, ask_or_less, typed
from diag.sources.postgres.queries import query
from diag.sources.postgres.rows import gap, observed_at
from diag.text import ServerText

_CONTEXTS_SINCE = 16
NAMES = ("server", "cache", "io")


def pg_cache(session: Session, scope: Scope) -> PgCache:
    """Read what was found in shared buffers and what was read. Raises a `SourceError` when even that fails."""
    del scope
    started = time.monotonic()
    if session.instead_of:
        message = f"the counters of {session.instead_of} are seen from inside only, and it let nobody in"
        raise TooSlow(message, rung=Rung.AUTHORISE, fix="look for a lock on its pg_class: diag pg-locks")
    names = NAMES if session.server_major >= _CONTEXTS_SINCE else NAMES[:2]
    asked: list[tuple[str, dict[str, Any]]] = [
        (query(name, session.server_major), {}) for name in (*names, "relations_read")
    ]
    (server, (cache,), *rest), error = ask_or_less(session, asked, asked[:-1])
    contexts = rest.pop(0) if "io" in names else []
    gaps = [gap("relations", "tables and indexes", error.message, error.fix)] if error else []
    return PgCache(
        target=session.target,
        observed_at=observed_at(server),
        took_s=time.monotonic() - started,
        gaps=tuple(gaps),
        database=cache["database"],
        database_name=ServerText(cache["database_name"]),
        counters=_counters(cache),
        uptime_s=cache["uptime_s"],
        shared_buffers=cache["shared_buffers"],
        track_io_timing=cache["track_io_timing"],
        relations=typed([_nested(row) for row in (rest[0] if rest else ())], RelationCounters),
        contexts={row["context"]: _counters(row) for row in contexts},
    )


def _counters(row: dict[str, Any]) -> CacheCounters:
    return CacheCounters(hits=row["hits"], reads=row["reads"], read_time_s=float(row.get("read_time_s") or 0.0))


def _nested(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "counters": {"hits": row["hits"], "reads": row["reads"]}}
